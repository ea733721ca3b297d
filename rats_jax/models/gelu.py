"""Exact GELU by erf, as PyTorch computes it."""

import math

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), elementwise, computed in float32 and returned in x's dtype.

    `jax.nn.gelu` uses erfc, which costs several times as much. The backward pass stores only x, in
    its own dtype; automatic differentiation would also store float32 values.
    """
    x32 = x.astype(jnp.float32)
    return (x32 * _normal_cdf(x32)).astype(x.dtype)


def _normal_cdf(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    x32 = x.astype(jnp.float32)
    density = jnp.exp(-0.5 * x32**2) * (1 / math.sqrt(2 * math.pi))
    slope = _normal_cdf(x32) + x32 * density
    return ((gradient.astype(jnp.float32) * slope).astype(x.dtype),)


gelu.defvjp(_forward, _backward)
