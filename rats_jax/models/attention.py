"""Ordinary multi-head attention, and the projections that register attention shares with it."""

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.axes import FSDP, TENSOR
from rats_jax.models.linear import Affine, add_bias, cast_einsum
from rats_jax.models.remat import rematerialize, save_for_backward
from rats_jax.models.rope import Rotation, rotate


class Attention(nnx.Module):
    """Multi-head attention: a fused projection to query, key and value, and an output projection.

    The kernels are stored as [D, 3, H, d] and [H, d, D]: one head's part is a slice, and a mesh
    axis over the heads shards both. Each is one tensor, as in timm: clipping by tensor depends on
    it.
    """

    def __init__(self, *, width: int, heads: int, dtype: jnp.dtype, rngs: nnx.Rngs):
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.dtype = dtype
        per_head = (heads, width // heads)
        axes = (FSDP, None, TENSOR, None)
        self.qkv = Affine((width, 3, *per_head), (3, *per_head), axes=axes, rngs=rngs)
        self.out = Affine((*per_head, width), (width,), axes=(TENSOR, None, FSDP), rngs=rngs)

    def attend(
        self,
        tokens: jax.Array,
        context: jax.Array | None = None,
        rotation: Rotation | None = None,
    ) -> jax.Array:
        """Tokens [B, T, D] attend to a context [B, S, D], by default to themselves: [B, T, D].

        rotation: rotates queries and keys by position (rope.py); only for self-attention.
        """
        qkv = self._qkv(tokens, context, rotation)
        return self.merge(flat(jax.nn.dot_product_attention(*qkv)))

    def weights(
        self,
        tokens: jax.Array,
        context: jax.Array | None = None,
        rotation: Rotation | None = None,
    ) -> jax.Array:
        """Attention probabilities [B, H, T, S], float32."""
        query, key, _ = self._qkv(tokens, context, rotation)
        return softmax_attention("BTHd,BSHd->BHTS", query, key)

    def project(self, tokens: jax.Array, first: int = 0, last: int = 3) -> list[jax.Array]:
        """[B, T, D] -> query, key, value (those in first:last), each [B, T, D], head by head."""

        def map_to_heads(tokens, kernel, bias):
            kernel, bias = kernel[:, first:last], bias[first:last]
            return add_bias(cast_einsum("BTD,DcHd->BTcHd", tokens, kernel, self.qkv.axes), bias)

        # Recomputed, so that no slice of a kernel is stored in addition to the kernel.
        qkv = rematerialize(map_to_heads)(tokens, self.qkv.kernel[...], self.qkv.bias[...])
        return [save_for_backward(flat(qkv[:, :, i])) for i in range(last - first)]

    def split(self, x_BTD: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, H, d]"""
        return x_BTD.reshape(*x_BTD.shape[:2], *self.out.kernel.shape[:2])

    def merge(self, x_BTE: jax.Array) -> jax.Array:
        """[B, T, D], head by head -> [B, T, D] through the output projection."""

        def map_out(x_BTE, kernel):
            return cast_einsum("BTHd,HdD->BTD", self.split(x_BTE), kernel, self.out.axes)

        return save_for_backward(
            add_bias(rematerialize(map_out)(x_BTE, self.out.kernel[...]), self.out.bias[...])
        )

    def _qkv(
        self, tokens: jax.Array, context: jax.Array | None, rotation: Rotation | None
    ) -> list[jax.Array]:
        """Query [B, T, H, d], key and value [B, S, H, d]."""
        if context is None:
            qkv = self.project(tokens)
        else:
            qkv = self.project(tokens, last=1) + self.project(context, first=1)
        query, key, value = (self.split(x) for x in qkv)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return [query, key, value]


def flat(x: jax.Array) -> jax.Array:
    """[..., H, d] -> [..., D]. A last axis of length d, usually 64, would be padded to the 128
    lanes of a TPU wherever the array is stored."""
    return x.reshape(*x.shape[:-2], -1)


def softmax_attention(form: str, query: jax.Array, key: jax.Array) -> jax.Array:
    """softmax(query key^T / sqrt(d)) over the last axis, float32; `form` is the einsum of q, k."""
    logits = jnp.einsum(form, query, key, preferred_element_type=jnp.float32)
    return jax.nn.softmax(logits * query.shape[-1] ** -0.5, axis=-1)
