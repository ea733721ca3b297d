"""What a model costs: parameters and operations by hand, time and memory as measured here."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.evals.paper.blocks import Block
from rats_jax.evals.paper.numbers import find
from rats_jax.models import SIZES, make_backbone
from rats_jax.models.flops import forward_macs
from rats_jax.models.memory import backbone_parameters
from rats_jax.models.options import Options, PerceiverOptions, RATSOptions, ViTOptions
from rats_jax.voice import say

PIXELS = 512  # of Table 3
SWEEP = (224, 512, 1024, 2048)  # of the figure of operations
TURNS = 5
SPEED, MEMORY = "times as fast as ViT-S/16", "memory, GB"

#: The paper's models of Table 3, by their names in `experiments`.
MODELS: Mapping[str, Options] = {
    "RATS-S/16": RATSOptions(**SIZES["S"]),
    "learned communication": RATSOptions(**SIZES["S"], communicate="learned"),
    "shared registers": RATSOptions(**SIZES["S"], sharing="shared"),
    "Perceiver-IO style": PerceiverOptions(**SIZES["S"]),
    "ViT-S/16": ViTOptions(**SIZES["S"]),
}
#: Those of the figure of operations.
SIZED: Mapping[str, Options] = {
    f"{name}-{size}/16": kind(**SIZES[size])
    for size in ("S", "B")
    for name, kind in (("RATS", RATSOptions), ("ViT", ViTOptions))
}


class Measured(NamedTuple):
    """seconds: of a forward pass of the batch, median. bytes: of the compiled program beside its
    parameters: images, results and temporary arrays. None if the device does not say."""

    seconds: float
    bytes: int | None


def table_of_variants(*, measure: bool, batch: int) -> Block:
    """Parameters at 224 pixels, operations at 512, and, if asked for, time and memory."""
    found = measured(MODELS, pixels=PIXELS, batch=batch) if measure else {}
    rows = []
    for name, options in MODELS.items():
        row = {
            "model": name,
            "parameters": f"{backbone_parameters(options):,}",
            "GMAC, 512 px": round(forward_macs(options, pixels=PIXELS) / 1e9, 2),
        }
        if of := found.get(name):
            row["ms an image"] = round(1000 * of.seconds / batch, 1)
            row[SPEED] = round(found["ViT-S/16"].seconds / of.seconds, 2)
            row[MEMORY] = round(of.bytes / 1e9, 2) if of.bytes else None
        for column in (SPEED, MEMORY):
            row[f"paper: {column}"] = find("table 3", name, column)
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    note = "Parameters agree with the paper's table. Time and memory are not measured: --measure."
    if measure:
        device = jax.devices()[0]
        note = (
            "Parameters agree with the paper's table. Measured on "
            f"{device.device_kind}, float32, batch {batch}: medians of {TURNS} turns, "
            "in which each model has one. Memory is what the compiled forward pass needs beside "
            "the parameters. The paper's are of a GPU, with attention that keeps its probabilities."
        )
    return Block(columns, rows, note)


def table_of_operations() -> Block:
    """G multiply-accumulates of a forward pass of one image."""
    rows = []
    for name, options in SIZED.items():
        row = {"model": name}
        for pixels in SWEEP:
            row[f"{pixels} px"] = round(forward_macs(options, pixels=pixels) / 1e9, 2)
        rows.append(row | {"paper: 2048 px": find("figure 6", name, "GMAC", on="2048 px")})
    note = "G multiply-accumulates of one image, counted by hand (rats_jax/models/flops.py)."
    return Block(list(rows[0]), rows, note)


def measured(models: Mapping[str, Options], *, pixels: int, batch: int) -> dict[str, Measured]:
    """Time and memory of forward passes with random weights. Models take turns, so that another
    load on the machine falls on all of them."""
    programs = {name: _program(options, pixels, batch) for name, options in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(TURNS + 1):
        say(f"measuring, turn {turn} of {TURNS}" if turn else "warming up")
        for name, (run, _) in programs.items():
            started = time.perf_counter()
            jax.block_until_ready(run())
            if turn:
                times[name].append(time.perf_counter() - started)
    return {
        name: Measured(statistics.median(times[name]), needed)
        for name, (_, needed) in programs.items()
    }


def _program(options: Options, pixels: int, batch: int) -> tuple[Callable, int | None]:
    """The compiled forward pass, with its arguments, and the bytes that it needs."""
    model = make_backbone(options, dtype=jnp.float32, rngs=nnx.Rngs(0))
    graph, state = nnx.split(model)
    params = nnx.to_pure_dict(state)
    images = jnp.zeros((batch, pixels, pixels, 3), jnp.float32)

    def forward(params: dict, images: jax.Array):
        features = nnx.merge(graph, params)(images)
        return features.patches, features.registers, features.global_vector

    compiled = jax.jit(forward).lower(params, images).compile()
    needs = compiled.memory_analysis()
    total = None
    if needs is not None:
        total = needs.temp_size_in_bytes + needs.output_size_in_bytes + images.nbytes
    return lambda: compiled(params, images), total
