"""Fingerprints: they see every change, and no mesh."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from rats_jax.assemble import make_dino
from rats_jax.parallel.mesh import make_mesh, replicated
from rats_jax.parallel.rules import state_shardings
from rats_jax.runs.checkpoints.fingerprint import fingerprint, fingerprints
from tests.runs.tiny import tiny_config

WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def mark(array) -> str:
    return fingerprints({"x": jnp.asarray(array)})["x"]


def by_hand(array: np.ndarray) -> str:
    """The definition in NumPy: what checkpoints hold must be read by every later version."""
    bits = array.reshape(-1).view(WORDS[array.dtype.itemsize]).astype(np.uint32)

    def mix(x):
        x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
        return x ^ (x >> 16)

    first = mix(bits ^ mix(np.arange(bits.size, dtype=np.uint32)))
    second = mix(first + np.uint32(0x9E3779B9))
    return "".join(f"{int(x.astype(np.uint64).sum()) % 2**32:08x}" for x in (first, second))


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32", "bfloat16", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 5), (0, 2)])
def test_they_are_as_defined_for_every_dtype_and_shape(dtype, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 100
    array = np.asarray(jnp.asarray(np.abs(values) if dtype[0] == "u" else values, dtype))
    assert mark(array) == by_hand(array)


def test_every_bit_of_every_element_counts():
    array = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    seen = {mark(array)}
    for i in range(array.size):
        for bit in range(32):
            other = array.copy()
            other.reshape(-1).view(np.uint32)[i] ^= np.uint32(1 << bit)
            seen.add(mark(other))
    assert len(seen) == 1 + 15 * 32


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.zeros_like(x),
        lambda x: -x,
        lambda x: np.roll(x, 1, axis=1),
        lambda x: x[::-1],
        lambda x: np.where(np.arange(256) < 128, x, 0),
        lambda x: x.T,
    ],
)
@pytest.mark.parametrize("smooth", [False, True])
def test_regular_damage_to_regular_arrays_is_seen(change, smooth):
    array = np.linspace(-1, 1, 256 * 256, dtype=np.float32).reshape(256, 256)
    array = array if smooth else np.where(array > 0.3, 1, 0.5).astype(np.float32)
    assert mark(change(array)) != mark(array)


def test_they_are_the_same_on_every_mesh():
    dino = make_dino(tiny_config(), images=40)
    state = jax.jit(dino.init, static_argnums=0)(0)
    state = {"rng": state["rng"], "step": state["step"], "student": state["student"]}
    expected = fingerprints(state)
    assert {"step", "rng", "student/backbone/blocks/mlp/fc1/kernel"} <= expected.keys()
    for sizes in ({"data": 4}, {"data": 2, "fsdp": 2}):
        shardings = state_shardings(make_mesh(**sizes), state)
        assert fingerprints(jax.device_put(state, shardings)) == expected


def test_no_device_sends_more_than_its_sums():
    mesh = make_mesh(data=1, fsdp=2, tensor=2)
    split = NamedSharding(mesh, PartitionSpec(None, "fsdp", "tensor"))
    array = jax.ShapeDtypeStruct((8, 64, 32), jnp.float32, sharding=split)
    compiled = jax.jit(fingerprint, out_shardings=replicated(mesh)).lower(array).compile()
    sent = re.findall(r"= \w+\[([\d,]*)\]\S* (?:all|collective|reduce-sc)", compiled.as_text())
    assert sent
    for shape in sent:
        assert np.prod([int(n) for n in shape.split(",") if n]) <= mesh.size, shape
    # Nor does one write what it has mixed to memory: 16 KiB of the array lie on each.
    assert compiled.memory_analysis().temp_size_in_bytes < 4096
