"""Linear maps: parameters in float32, products in the compute dtype."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import AXES, FSDP, constrain

# torch's trunc_normal_(std=.02) truncates at +-2, a hundred deviations: in effect a plain normal.
STD = 0.02
init = nnx.initializers.normal(STD)


#: For each dimension of a stored kernel, the mesh axis that splits it.
Axes = tuple[str | None, ...]


class Affine(nnx.Module):
    """Kernel and bias of a linear map of any shape, applied with `cast_einsum` and `add_bias`.

    axes: the mesh axes of the kernel, the same as in parallel/rules.py.
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

    The kernel is cast before it is gathered, so that half the bytes are moved. It is gathered over
    `fsdp`, or with `whole` over every axis. Its gradient is float32, so that sums over the mesh are
    float32 sums, and is sharded as the kernel is: each device receives its part of the sum over
    `fsdp`, and sums only that part over `data`.
    """
    return jnp.einsum(form, x, gather_kernel(kernel, x.dtype, axes, whole))


def gather_kernel(
    kernel: jax.Array, dtype: jnp.dtype, axes: Axes, whole: bool = False
) -> jax.Array:
    """The kernel in `dtype`, gathered as `cast_einsum` describes."""
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
    """x + bias, broadcast, in x's dtype; the bias's gradient is float32, as in `cast_einsum`."""
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
