"""Ordinary multi-head attention, and the projections that register attention shares with it."""

import jax
import jax.numpy as jnp
from flax import nnx

# torch's trunc_normal_(std=.02) cuts at +-2, a hundred deviations: a plain normal.
init = nnx.initializers.normal(0.02)


class Affine(nnx.Module):
    """Kernel and bias of a linear map of any shape."""

    def __init__(self, kernel: tuple[int, ...], bias: tuple[int, ...], *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(init(rngs.params(), kernel))
        self.bias = nnx.Param(jnp.zeros(bias))

    def cast(self, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
        return self.kernel[...].astype(dtype), self.bias[...].astype(dtype)


class Attention(nnx.Module):
    """Multi-head attention: a fused projection to query, key and value, and one out of the heads.

    Kept as [D, 3, H, d] and [H, d, D]: one head's part is a slice, and a mesh axis over the heads
    shards both. One tensor each, as in timm: clipping by tensor depends on it.
    """

    def __init__(self, *, width: int, heads: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.dtype = dtype
        self.qkv = Affine((width, 3, heads, width // heads), (3, heads, width // heads), rngs=rngs)
        self.out = Affine((heads, width // heads, width), (width,), rngs=rngs)

    def attend(self, tokens: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Tokens [B, T, D] attend to a context [B, S, D], by default to themselves: [B, T, D]."""
        return self.merge(jax.nn.dot_product_attention(*self._qkv(tokens, context)))

    def weights(self, tokens: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Attention probabilities [B, H, T, S], float32."""
        query, key, _ = self._qkv(tokens, context)
        return softmax_attention("BTHd,BSHd->BHTS", query, key)

    def project(self, tokens: jax.Array, first: int = 0, last: int = 3) -> list[jax.Array]:
        """[B, T, D] -> query, key, value (those in first:last), each [B, T, H, d]."""
        kernel, bias = self.qkv.cast(self.dtype)
        qkv = jnp.einsum("BTD,DcHd->BTcHd", tokens, kernel[:, first:last]) + bias[first:last]
        return [qkv[:, :, i] for i in range(last - first)]

    def merge(self, x_BTHd: jax.Array) -> jax.Array:
        """[B, T, H, d] -> [B, T, D] through the output projection."""
        kernel, bias = self.out.cast(self.dtype)
        return jnp.einsum("BTHd,HdD->BTD", x_BTHd, kernel) + bias

    def _qkv(self, tokens: jax.Array, context: jax.Array | None) -> list[jax.Array]:
        if context is None:
            return self.project(tokens)
        return self.project(tokens, last=1) + self.project(context, first=1)


def softmax_attention(form: str, query: jax.Array, key: jax.Array) -> jax.Array:
    """softmax(query key^T / sqrt(d)) over the last axis, float32; `form` is the einsum of q, k."""
    logits = jnp.einsum(form, query, key, preferred_element_type=jnp.float32)
    return jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
