"""The MLP of a block, plain or gated."""

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import FSDP, TENSOR
from rats_jax.models.gelu import gelu
from rats_jax.models.linear import Affine, add_bias, cast_einsum
from rats_jax.models.remat import save_for_backward


class MLP(nnx.Module):
    """Linear, exact GELU, linear: [..., D] -> [..., D]."""

    def __init__(self, *, width: int, hidden: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dtype = dtype
        self.fc1 = Affine((width, hidden), (hidden,), axes=(FSDP, TENSOR), rngs=rngs)
        self.fc2 = Affine((hidden, width), (width,), axes=(TENSOR, FSDP), rngs=rngs)

    def __call__(self, x: jax.Array, *, whole: bool = False) -> jax.Array:
        """whole: on a mesh, gather the kernels instead of splitting them along the hidden width;
        for tokens that are themselves split."""
        for affine in (self.fc1, self.fc2):
            x = cast_einsum("...D,DM->...M", x, affine.kernel[...], affine.axes, whole)
            x = add_bias(x, affine.bias[...])
            x = gelu(save_for_backward(x)) if affine is self.fc1 else x
        return x


class GatedMLP(nnx.Module):
    """silu(gate) * value, linear (SwiGLU): [..., D] -> [..., D]. One projection makes gate and
    value, in this order; the parameter names are DINOv2's."""

    def __init__(self, *, width: int, hidden: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.dtype = dtype
        self.w12 = Affine((width, 2 * hidden), (2 * hidden,), axes=(FSDP, TENSOR), rngs=rngs)
        self.w3 = Affine((hidden, width), (width,), axes=(TENSOR, FSDP), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = cast_einsum("...D,DM->...M", x, self.w12.kernel[...], self.w12.axes)
        gate, value = jnp.split(save_for_backward(add_bias(x, self.w12.bias[...])), 2, axis=-1)
        x = (jax.nn.silu(gate.astype(jnp.float32)) * value).astype(x.dtype)
        return add_bias(
            cast_einsum("...D,DM->...M", x, self.w3.kernel[...], self.w3.axes), self.w3.bias[...]
        )
