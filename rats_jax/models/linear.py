"""Linear maps: parameters in float32, products in the compute dtype."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import constrain

# torch's trunc_normal_(std=.02) cuts at +-2, a hundred deviations: a plain normal.
init = nnx.initializers.normal(0.02)


#: For each dimension of a kernel in use, the axis of the mesh that splits it.
Axes = tuple[str | None, ...]


class Affine(nnx.Module):
    """Kernel and bias of a linear map of any shape, applied with `product` and `plus`.

    axes: of the kernel while it is in use.
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
def product(
    form: str, x: jax.Array, kernel: jax.Array, axes: Axes, gradient_axes: Axes | None = None
) -> jax.Array:
    """einsum(form, x, kernel), in x's dtype.

    The kernel is cast first and gathered to `axes` after that, so that half the bytes travel. Its
    gradient leaves the product in float32, so that sums over the mesh are sums of float32 numbers;
    it is laid out as `gradient_axes`, by default the same.
    """
    return jnp.einsum(form, x, constrain(kernel.astype(x.dtype), *axes))


def _forward(form, x, kernel, axes, gradient_axes):
    return product(form, x, kernel, axes, gradient_axes), (x, kernel)


def _backward(form, axes, gradient_axes, saved, gradient):
    x, kernel = saved
    inputs, out = form.split("->")
    of_x, of_kernel = inputs.split(",")
    in_use = constrain(kernel.astype(x.dtype), *axes)
    to_x = jnp.einsum(f"{out},{of_kernel}->{of_x}", gradient, in_use)
    to_kernel = jnp.einsum(
        f"{of_x},{out}->{of_kernel}", x, gradient, preferred_element_type=jnp.float32
    )
    return to_x, constrain(to_kernel, *(gradient_axes or axes)).astype(kernel.dtype)


product.defvjp(_forward, _backward)


@jax.custom_vjp
def plus(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x + bias in x's dtype, the bias broadcast; its gradient is float32, as in `product`."""
    return x + bias.astype(x.dtype)


def _plus_forward(x, bias):
    return plus(x, bias), bias


def _plus_backward(bias, gradient):
    leading = tuple(range(gradient.ndim - bias.ndim))
    to_bias = jnp.sum(gradient, axis=leading, dtype=jnp.float32)
    ones = tuple(i for i, size in enumerate(bias.shape) if size == 1)
    return gradient, jnp.sum(to_bias, axis=ones, keepdims=True).astype(bias.dtype)


plus.defvjp(_plus_forward, _plus_backward)


def repeat(x: jax.Array, batch: int, dtype: jnp.dtype) -> jax.Array:
    """x once for each image, [batch, ...] in `dtype`; its gradient is summed in float32."""
    return plus(jnp.zeros((batch, *x.shape), dtype), x)
