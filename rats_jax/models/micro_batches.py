"""Micro-batches: a function of a batch, computed for one part after another."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rats_jax.models.axes import BATCH, constrain


def mean_over_parts(function: Callable, batch, parts: int):
    """Mean of function(part) over the parts of a batch (a tree of [B, ...]), one after another.

    Part i has the images whose index is i modulo `parts`, so that on a mesh each device takes its
    share of a part from the images that it already holds.
    """
    if parts == 1:
        return function(batch)
    first = first_part(batch, parts)
    batch = jax.tree.map(lambda x: _parts(x, parts).swapaxes(0, 1), batch)
    batch = jax.tree.map(lambda x: constrain(x, None, BATCH, *[None] * (x.ndim - 2)), batch)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, first))

    def add(total, part):
        return jax.tree.map(jnp.add, total, function(part)), None

    total, _ = jax.lax.scan(add, zeros, batch)
    return jax.tree.map(lambda x: x / parts, total)


def first_part(batch, parts: int):
    """The first of the parts that `mean_over_parts` takes."""
    return jax.tree.map(lambda x: _parts(x, parts)[:, 0], batch)


def _parts(x: jax.Array, parts: int) -> jax.Array:
    """[B, ...] -> [B / parts, parts, ...]; other dimensions may be 0."""
    return x.reshape(len(x) // parts, parts, *x.shape[1:])
