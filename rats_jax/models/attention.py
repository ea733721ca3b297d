"""Ordinary multi-head attention, and the projections that register attention shares with it."""

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import TENSOR
from rats_jax.models.linear import Affine, plus, product


class Attention(nnx.Module):
    """Multi-head attention: a fused projection to query, key and value, and one out of the heads.

    Kept as [D, 3, H, d] and [H, d, D]: one head's part is a slice, and a mesh axis over the heads
    shards both. One tensor each, as in timm: clipping by tensor depends on it.
    """

    def __init__(self, *, width: int, heads: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.dtype = dtype
        per_head = (heads, width // heads)
        axes = (None, None, TENSOR, None)
        self.qkv = Affine((width, 3, *per_head), (3, *per_head), axes=axes, rngs=rngs)
        self.out = Affine((*per_head, width), (width,), axes=(TENSOR, None, None), rngs=rngs)

    def attend(self, tokens: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Tokens [B, T, D] attend to a context [B, S, D], by default to themselves: [B, T, D]."""
        return self.merge(jax.nn.dot_product_attention(*self._qkv(tokens, context)))

    def weights(self, tokens: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Attention probabilities [B, H, T, S], float32."""
        query, key, _ = self._qkv(tokens, context)
        return softmax_attention("BTHd,BSHd->BHTS", query, key)

    def project(self, tokens: jax.Array, first: int = 0, last: int = 3) -> list[jax.Array]:
        """[B, T, D] -> query, key, value (those in first:last), each [B, T, H, d]."""
        kernel, bias = self.qkv.kernel[:, first:last], self.qkv.bias[first:last]
        qkv = plus(product("BTD,DcHd->BTcHd", tokens, kernel, self.qkv.axes), bias)
        return [qkv[:, :, i] for i in range(last - first)]

    def merge(self, x_BTHd: jax.Array) -> jax.Array:
        """[B, T, H, d] -> [B, T, D] through the output projection."""
        summed = product("BTHd,HdD->BTD", x_BTHd, self.out.kernel[...], self.out.axes)
        return plus(summed, self.out.bias[...])

    def _qkv(self, tokens: jax.Array, context: jax.Array | None) -> list[jax.Array]:
        if context is None:
            return self.project(tokens)
        return self.project(tokens, last=1) + self.project(context, first=1)


def softmax_attention(form: str, query: jax.Array, key: jax.Array) -> jax.Array:
    """softmax(query key^T / sqrt(d)) over the last axis, float32; `form` is the einsum of q, k."""
    logits = jnp.einsum(form, query, key, preferred_element_type=jnp.float32)
    return jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
