"""The training step compiled for this machine's (fake) devices, and what is read from it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.planning.compiled import compile_step, parameter_sizes, state_bytes, too_large
from rats_jax.planning.figures import figures
from rats_jax.planning.hardware import TPUS
from rats_jax.planning.hbm import hbm_bytes
from rats_jax.planning.hlo import read_program
from rats_jax.planning.report import page
from rats_jax.planning.topology import open_hardware
from rats_jax.runs.programs import abstract_state
from tests.runs.tiny import tiny_config

GiB = 2**30


@pytest.fixture(scope="module")
def step():
    return compile_step(tiny_config(), open_hardware(""))


@pytest.fixture(scope="module")
def plan(step):
    """As on a v5e, as to its figures."""
    v5e = dataclasses.replace(open_hardware(""), chip=TPUS[1], links=2)
    return figures(tiny_config(), v5e, step)


def test_state_is_counted_as_the_arrays_are(step):
    parameters = sum(x.size for x in jax.tree.leaves(step.state["student"]))
    counted = state_bytes(step.state)
    assert counted["student"] == counted["teacher"] == 4 * parameters
    assert counted["moments"] == 2 * 4 * parameters + 2 * 4  # and two counts
    arguments = step.memory.arguments
    assert 0 < arguments - sum(counted.values()) < 10_000  # the images


def test_every_gradient_is_summed_over_the_devices_once(step, plan):
    """Under data parallelism all parameters travel; what else does is small."""
    parameters = sum(plan["parameters"].values())
    sums = [row for row in plan["collectives"] if row["kind"] == "all-reduce"]
    total = sum(row["bytes"] for row in sums)
    assert {row["axes"] for row in sums} == {("data",)}
    assert 4 * parameters <= total < 4 * 4 * parameters  # some by crop size, or by kind of token
    assert sums[0]["origin"] == "gradients"


def test_a_split_state_takes_its_share_of_each_chip_and_is_known_by_its_size():
    config = tiny_config(mesh__fsdp=2, model__width=64, model__heads=4)
    whole = abstract(tiny_config(model__width=64, model__heads=4))
    split = abstract(config)
    assert sum(state_bytes(split).values()) < 0.6 * sum(state_bytes(whole).values())
    assert {64 * 256, 64 * 256 // 2} <= parameter_sizes(split)  # a layer of the MLP


def abstract(config) -> dict:
    return abstract_state(make_dino(config, images=40), 0, make_mesh(config))


def test_the_page_tells_the_figures_and_json_holds_them(plan):
    text = "\n".join(page(plan))
    expected = (
        "fits",
        "head-room",
        "collectives",
        "gradients",
        "FLOP a step",
        "MFU",
        "a host",
        "days",
    )
    for told in expected:
        assert told in text
    assert len(text.splitlines()) < 50
    assert max(map(len, text.splitlines())) < 180
    assert json.loads(json.dumps(plan))["speed"]["days"] == plan["speed"]["days"]
    speed = plan["speed"]
    assert speed["step_seconds"] == max(speed["busy_seconds"].values())
    assert speed["steps"] == 40 // 8 * 8
    kept = plan["memory"]["kept"]
    assert kept["per_image"] * 2 == kept["bytes"]  # 8 images on 4 devices
    assert kept["per_image_per_layer"] * 2 == kept["per_image"]


def test_a_step_that_is_too_large_is_told_with_what_it_needs(step, plan):
    chip = dataclasses.replace(TPUS[1], memory=1000)
    small = dataclasses.replace(open_hardware(""), chip=chip)
    refused = dataclasses.replace(step, memory=None, program=None, needs=3 * GiB)
    told = figures(tiny_config(), small, refused)
    assert not told["fits"]
    assert any("does not fit: at least 3.00 of 0.00 GiB" in line for line in page(told))


def test_without_loops_xla_counts_the_bytes_that_are_moved_as_we_do():
    def loss(kernels, x):
        x, _ = jax.lax.scan(lambda x, k: (jnp.tanh(x @ k), None), x, kernels, unroll=4)
        return x.sum()

    kernels, x = jnp.ones((4, 64, 64)), jnp.ones((32, 64))
    compiled = jax.jit(jax.grad(loss)).lower(kernels, x).compile()
    counted = hbm_bytes(read_program(compiled.as_text()))
    assert counted == pytest.approx(compiled.cost_analysis()["bytes accessed"], rel=0.02)


@pytest.mark.parametrize(
    ("message", "amounts"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (53.63G) exceeds available HBM (15.75G).",
            (int(53.63 * GiB), int(15.75 * GiB)),
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 18.50G of 15.75G hbm. Exceeded hbm capacity by 2.75G.",
            (int(18.5 * GiB), int(15.75 * GiB)),
        ),
        ("INTERNAL: Used 18.50G of 15.75G hbm", None),
    ],
)
def test_xlas_refusals_are_understood(message, amounts):
    assert too_large(message) == amounts
