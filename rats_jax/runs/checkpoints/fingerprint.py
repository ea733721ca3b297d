"""Fingerprints of arrays: 64 bits each, independent of how the array is split over devices.

The bits of every element are mixed with its index by a bijection of 32-bit numbers, and the results
are summed modulo 2^32, so that a change of one element always changes the sum. A second sum is over
a second mix. Integer sums do not depend on the order, so the result is exact on any mesh, and each
device reads only its own part.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec


def fingerprints(tree) -> dict[str, str]:
    """Path, such as "student/head/gain" -> 16 hexadecimal digits, for every array of a tree.

    All processes must call it on the same tree of global arrays.
    """
    names, arrays = zip(*named_leaves(tree), strict=True)
    # One program for each of the few shapes in a state compiles faster than one for all arrays.
    # One array after another: on CPUs, many concurrent collectives run out of threads, and two
    # processes can deadlock.
    sums = [jax.device_get(jax.block_until_ready(_everywhere(x))) for x in arrays]
    return {name: f"{a:08x}{b:08x}" for name, (a, b) in zip(names, sums, strict=True)}


def named_leaves(tree) -> list[tuple[str, jax.Array]]:
    """The leaves of a tree with their paths."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _everywhere(x: jax.Array) -> jax.Array:
    sharding = x.sharding
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.jit(fingerprint, out_shardings=sharding)(x)


def fingerprint(x: jax.Array) -> jax.Array:
    """uint32 [2], for an array with 1, 2, 4 or 8 bytes per element."""
    words = _words(x)
    first = _mix(words ^ _mix(_places(words.shape)))
    second = _mix(first + jnp.uint32(0x9E3779B9))
    zeros = (jnp.uint32(0), jnp.uint32(0))
    # One reduction for both sums: with two, XLA would write `first` to memory.
    return jnp.stack(jax.lax.reduce((first, second), zeros, _add, tuple(range(words.ndim))))


def _add(a, b):
    return a[0] + b[0], a[1] + b[1]


def _words(x: jax.Array) -> jax.Array:
    """The bits as uint32; 8-byte elements become two."""
    if x.dtype == bool:
        return x.astype(jnp.uint32)
    kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[x.dtype.itemsize]
    return jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)


def _places(shape: tuple[int, ...]) -> jax.Array:
    """The index of each element modulo 2^32, without a reshape, which would gather the array."""
    places = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        places += stride * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return places


def _mix(x: jax.Array) -> jax.Array:
    """A bijection in which every input bit changes about half of the output bits: lowbias32 of
    https://github.com/skeeto/hash-prospector (public domain)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
