"""Finds settings that fit when a config does not, by compiling the likely fastest first."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.errors import UserError
from rats_jax.models.flops import recomputed_macs
from rats_jax.parallel.mesh import batch_shards
from rats_jax.planning.compiled import Compiled, compile_step, state_bytes
from rats_jax.planning.hardware import TPUS, Chip
from rats_jax.planning.topology import Hardware

REMAT = ("none", "dots", "full")  # from most to least stored


@dataclass(frozen=True)
class Way:
    """A choice of the config fields that decide the memory of a step."""

    remat: str
    accumulation: int
    fsdp: int
    micro_batch: int  # images per shard

    def changes(self, config: ConfigDict) -> dict[str, str | int]:
        """{field: value} of the fields in which the config differs."""
        fields = {
            "model.remat": self.remat,
            "optimizer.accumulation": self.accumulation,
            "mesh.fsdp": self.fsdp,
        }
        if config.mesh.data != -1:
            fields["mesh.data"] = config.mesh.data * config.mesh.fsdp // self.fsdp
        had = config.to_dict()
        return {
            name: value
            for name, value in fields.items()
            if had[name.split(".")[0]][name.split(".")[1]] != value
        }


@dataclass(frozen=True)
class Try:
    """changes: to the config. step: None if it was not compiled, since earlier steps show that it
    needs at least `needs` bytes, which is too much."""

    changes: dict[str, str | int]
    step: Compiled | None
    needs: float
    fits: bool


def find_what_fits(
    config: ConfigDict,
    hardware: Hardware,
    refused: Compiled,
    *,
    compile_step: Callable[[ConfigDict, Hardware], Compiled] = compile_step,
) -> Iterator[Try]:
    """Yields tries until one fits, which is the last, or none is left.

    refused: the step of the config itself.
    """
    state = sum(state_bytes(refused.state).values())
    ways = _ways(config, hardware, refused, state)
    known = [(ways[0], state, refused.needs)]
    for way in sorted(ways[1:], key=lambda way: _seconds(way, config, hardware, refused)):
        needs = max(_least(way, state * known[0][0].fsdp / way.fsdp, known), 0)
        changes = way.changes(config)
        if needs > hardware.memory:
            yield Try(changes, None, needs, False)
            continue
        changed = config.copy_and_resolve_references()
        changed.update_from_flattened_dict(changes)
        try:
            step = compile_step(changed, hardware)
        except UserError:  # such as a dimension that fsdp does not divide
            continue
        fits = step.needs <= hardware.memory
        yield Try(changes, step, step.needs, fits)
        if fits:
            return
        known.append((way, sum(state_bytes(step.state).values()), step.needs))


def _ways(config: ConfigDict, hardware: Hardware, refused: Compiled, state: int) -> list[Way]:
    """The way of the config itself, then all others that need less memory."""
    shape = refused.mesh.shape
    own, fsdp = config.optimizer.accumulation, shape["fsdp"]
    images = config.optimizer.batch_size // batch_shards(refused.mesh)
    remats = REMAT[REMAT.index(config.model.remat) :]
    parts = [n for n in range(own, images + 1) if images % n == 0 and n % own == 0]
    shards = [fsdp]
    # Splitting the state costs a gather for each use, so only a large state is split.
    more = [2**n for n in range(1, 20) if (shape["data"] // hardware.slices) % 2**n == 0]
    if state > hardware.memory / 4 and more and config.mesh.fsdp != -1:
        enough = [n for n in more if state / n <= hardware.memory / 4]
        shards.append(fsdp * (enough[0] if enough else more[-1]))
    return [
        Way(remat, part, shard, images // part)
        for remat, part, shard in itertools.product(remats, parts, shards)
    ]


def _least(way: Way, state: float, known: list[tuple[Way, int, int]]) -> float:
    """A lower bound on the bytes of this way, from steps that are known: memory beyond the state
    shrinks at most in proportion to the images, and a stronger remat never needs more."""
    least = state
    for other, of_state, needs in known:
        if other.fsdp == way.fsdp and REMAT.index(other.remat) >= REMAT.index(way.remat):
            share = min(way.micro_batch / other.micro_batch, 1)
            least = max(least, of_state + (needs - of_state) * share)
    return least


def _seconds(way: Way, config: ConfigDict, hardware: Hardware, refused: Compiled) -> float:
    """Estimated seconds that the way adds to a step, used only to order ways: recomputed products;
    weights that each micro-batch reads, and gradients that it accumulates; gathers of fsdp."""
    chip: Chip = hardware.chip or TPUS[1]
    options, crops = backbone_options(config), config.crops
    again = 2 * recomputed_macs(options, remat=way.remat, pixels=crops.global_size)
    again += crops.local_crops * recomputed_macs(options, remat=way.remat, pixels=crops.local_size)
    products = 2 * again * config.optimizer.batch_size / refused.mesh.size / chip.flops
    parameters = state_bytes(refused.state)["student"] / 4 * refused.mesh.shape["fsdp"]
    # Teacher, student and both gradients read bfloat16 kernels; a float32 sum is read and written.
    weights = way.accumulation * parameters * (4 * 2 + 2 * 4) / chip.bandwidth
    gathered = 0.0
    if way.fsdp > 1:
        gathered = way.accumulation * parameters * 3 * 2 / (hardware.links * chip.link)
    return products + weights + gathered
