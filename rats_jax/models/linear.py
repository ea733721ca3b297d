"""Linear maps: parameters in float32, products in the compute dtype."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import AXES, FSDP, constrain

# torch's trunc_normal_(std=.02) cuts at +-2, a hundred deviations: a plain normal.
STD = 0.02
init = nnx.initializers.normal(STD)


#: For each dimension of a kernel as it is stored, the axis of the mesh that splits it.
Axes = tuple[str | None, ...]


class Affine(nnx.Module):
    """Kernel and bias of a linear map of any shape, applied with `cast_einsum` and `add_bias`.

    axes: of the kernel; those that parallel/rules.py names for it.
    """

    def __init__(
        self,
        kernel: tuple[int, ...],
        bias: tuple[int, ...],
        *,
        axes: Axes,
        rngs: nnx.Rngs,
    ):
        self.axes = axes
        self.kernel = nnx.Param(init(rngs.params(), kernel))
        self.bias = nnx.Param(jnp.zeros(bias))


@partial(jax.custom_vjp, nondiff_argnums=(0, 3, 4))
def cast_einsum(
    form: str, x: jax.Array, kernel: jax.Array, axes: Axes, whole: bool = False
) -> jax.Array:
    """einsum(form, x, kernel), in x's dtype.

    The kernel is cast first and gathered after that, over `fsdp`, and with `whole` over every axis,
    so that half the bytes travel. Its gradient leaves the product in float32, so that sums over the
    mesh are sums of float32 numbers, and goes where the kernel is stored: each device receives its
    part of the sum over `fsdp`, and sums no more than that over `data`.
    """
    return jnp.einsum(form, x, gather_kernel(kernel, x.dtype, axes, whole))


def gather_kernel(
    kernel: jax.Array, dtype: jnp.dtype, axes: Axes, whole: bool = False
) -> jax.Array:
    """The kernel in `dtype`, gathered as `cast_einsum` says."""
    gathered = AXES if whole else (FSDP,)
    return constrain(kernel.astype(dtype), *(None if axis in gathered else axis for axis in axes))


def _forward(form, x, kernel, axes, whole):
    return cast_einsum(form, x, kernel, axes, whole), (x, kernel)


def _backward(form, axes, whole, saved, gradient):
    x, kernel = saved
    inputs, out = form.split("->")
    of_x, of_kernel = inputs.split(",")
    gathered = gather_kernel(kernel, x.dtype, axes, whole)
    to_x = jnp.einsum(f"{out},{of_kernel}->{of_x}", gradient, gathered)
    to_kernel = jnp.einsum(
        f"{of_x},{out}->{of_kernel}", x, gradient, preferred_element_type=jnp.float32
    )
    return to_x, constrain(to_kernel, *axes).astype(kernel.dtype)


cast_einsum.defvjp(_forward, _backward)


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x + bias in x's dtype, the bias broadcast; its gradient is float32, as in `cast_einsum`."""
    return x + bias.astype(x.dtype)


def _add_bias_forward(x, bias):
    return add_bias(x, bias), bias


def _add_bias_backward(bias, gradient):
    leading = tuple(range(gradient.ndim - bias.ndim))
    to_bias = jnp.sum(gradient, axis=leading, dtype=jnp.float32)
    ones = tuple(i for i, size in enumerate(bias.shape) if size == 1)
    return gradient, jnp.sum(to_bias, axis=ones, keepdims=True).astype(bias.dtype)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def repeat(x: jax.Array, batch: int, dtype: jnp.dtype) -> jax.Array:
    """x once for each image, [batch, ...] in `dtype`; its gradient is summed in float32."""
    return add_bias(jnp.zeros((batch, *x.shape), dtype), x)
