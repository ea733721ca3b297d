"""Hardware by name."""

import importlib.util
import os

import pytest

from rats_jax.errors import UserError
from rats_jax.planning.hardware import TPUS, chip_of_kind
from rats_jax.planning.topology import (
    FRACTION_SETTINGS,
    _links,
    _nodes,
    memory_fraction,
    open_hardware,
)
from rats_jax.quiet_libtpu import SETTINGS, quiet_libtpu


@pytest.mark.parametrize(
    "topology",
    [
        *("v5e:3x5", "v5e:2x2x2", "v5e", "v5p:4x4", "v5p:8x4x4", "v7:2x2", "cpu:0", "16"),
        *("h100:0", "h100:17", "h100:2x17", "h100:65x16", "h100:2x2x2", "v100:8"),
    ],
)
def test_an_unknown_topology_is_told_what_is_known(topology):
    with pytest.raises(UserError, match=r"known are v5e:RxC .* cpu:N.* h100") as error:
        open_hardware(topology)
    assert topology in str(error.value) and "\n" not in str(error.value)


def test_without_libtpu_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install -r requirements-tpu.txt"):
        open_hardware("v5e:8x8")


@pytest.mark.parametrize("topology", ["", "cpu:8"])
def test_slices_are_for_tpus(topology):
    with pytest.raises(UserError, match="--slices=2"):
        open_hardware(topology, slices=2)


def test_nodes_of_gpus_are_no_slices():
    with pytest.raises(UserError, match="--topology=h100:2x8"):
        open_hardware("h100:8", slices=2)


@pytest.mark.parametrize(
    ("shape", "expected"), [("", (1, 1)), ("8", (1, 8)), ("4x8", (4, 8)), ("64x16", (64, 16))]
)
def test_gpus_are_named_by_nodes_and_gpus_of_each(shape, expected):
    assert _nodes(shape) == expected


def test_the_memory_of_a_gpu_is_the_part_that_jax_takes(monkeypatch):
    for name in FRACTION_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert memory_fraction() == 0.75
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
    assert memory_fraction() == 0.9
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "90")
    with pytest.raises(UserError, match="XLA_PYTHON_CLIENT_MEM_FRACTION=90.*such as 0.9"):
        memory_fraction()


def test_a_corner_chip_has_two_links_only_on_an_axis_that_is_a_ring():
    v5e, v5p = (next(chip for chip in TPUS if chip.name == name) for name in ("v5e", "v5p"))
    assert _links(v5e, [16, 16]) == 4
    assert _links(v5e, [8, 16]) == 3
    assert _links(v5e, [4, 4]) == 2
    assert _links(v5p, [2, 4, 4]) == 5
    assert _links(v5p, [2, 2, 1]) == 2


def test_chips_are_known_by_the_kind_that_jax_tells():
    assert chip_of_kind("TPU v5 lite").name == "v5e"
    assert chip_of_kind("TPU v5").name == chip_of_kind("TPU v5p").name == "v5p"
    assert chip_of_kind("NVIDIA H200").name == "h200"
    assert chip_of_kind("NVIDIA A100-SXM4-40GB").name == "a100-40gb"
    assert chip_of_kind("NVIDIA A100-SXM4-80GB").name == "a100"
    assert chip_of_kind("NVIDIA L40S").name == "l40s"
    assert chip_of_kind("NVIDIA A10G") is None
    assert chip_of_kind("cpu") is None


@pytest.mark.parametrize(
    ("installed", "environment", "expected"),
    [
        (True, {"TPU_SKIP_MDS_QUERY": "1"}, SETTINGS),  # no TPU on the bus, says JAX
        (
            True,
            {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "a,b"},
            {**SETTINGS, "TPU_WORKER_HOSTNAMES": "a,b"},
        ),
        (True, {}, {}),
        (False, {"TPU_SKIP_MDS_QUERY": "1"}, {}),
    ],
)
def test_libtpu_is_quiet_only_where_there_is_no_tpu(installed, environment, expected, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed or None)
    monkeypatch.setattr("os.environ", dict(environment))
    quiet_libtpu()
    assert {k: v for k, v in os.environ.items() if k != "TPU_SKIP_MDS_QUERY"} == expected
