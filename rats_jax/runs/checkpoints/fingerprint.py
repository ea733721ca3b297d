"""Fingerprints of arrays: 64 bits each, the same however the array is split over devices.

Every element's bits are mixed with its place in the array by a bijection of 32-bit numbers, so one
that changes always changes its sum modulo 2^32; a second sum goes over a second mix. Integer sums
have no order: the result is exact on any mesh, and each device reads no more than it holds.
"""

import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec


def fingerprints(tree) -> dict[str, str]:
    """16 hexadecimal digits for every array of a tree, by path such as "student/head/gain".

    With several processes all must call it, on the same tree of global arrays.
    """
    names, arrays = zip(*named_leaves(tree), strict=True)
    # One program for each kind of array, of which a state has few: compiled in less time than one
    # for them all. One after another: on CPUs, many collectives under way starve each other of
    # threads, and two processes wait for each other for ever.
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
    """uint32 [2]; of 1, 2, 4 or 8 bytes an element."""
    words = _words(x)
    first = _mix(words ^ _mix(_places(words.shape)))
    second = _mix(first + jnp.uint32(0x9E3779B9))
    zeros = (jnp.uint32(0), jnp.uint32(0))
    # One reduction of both: of two, XLA would write `first` to memory for the other.
    return jnp.stack(jax.lax.reduce((first, second), zeros, _add, tuple(range(words.ndim))))


def _add(a, b):
    return a[0] + b[0], a[1] + b[1]


def _words(x: jax.Array) -> jax.Array:
    """The bits as uint32, of 8 bytes as two of them."""
    if x.dtype == bool:
        return x.astype(jnp.uint32)
    kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[x.dtype.itemsize]
    return jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)


def _places(shape: tuple[int, ...]) -> jax.Array:
    """The number of each element, modulo 2^32; not by reshaping, which would gather the parts."""
    places = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        places += stride * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return places


def _mix(x: jax.Array) -> jax.Array:
    """A bijection in which every bit of the input moves about half of the output's: lowbias32 of
    https://github.com/skeeto/hash-prospector (public domain)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
