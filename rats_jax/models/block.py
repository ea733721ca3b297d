"""Pre-norm transformer blocks, and the scan over a stack of them."""

from collections.abc import Callable, Collection, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.attention import Attention
from rats_jax.models.axes import BATCH, TENSOR, constrain
from rats_jax.models.mlp import MLP, GatedMLP
from rats_jax.models.register_attention import RegisterAttention
from rats_jax.models.remat import POLICIES, rematerialize
from rats_jax.models.rope import Rotation


class LayerNorm(nnx.LayerNorm):
    """Computed in float32 for every compute dtype; the result has x's dtype. Stores only its input
    for the backward pass, not the intermediate float32 arrays."""

    def __call__(self, x: jax.Array) -> jax.Array:
        normalise = super().__call__
        return rematerialize(lambda x: normalise(x).astype(x.dtype))(x)


def layer_norm(width: int, *, eps: float = 1e-6, rngs: nnx.Rngs) -> LayerNorm:
    """A LayerNorm whose statistics are computed in two passes."""
    return LayerNorm(width, epsilon=eps, use_fast_variance=False, dtype=jnp.float32, rngs=rngs)


class LayerScale(nnx.Module):
    """A gain for each feature of a residual (CaiT), initialised to a small value."""

    def __init__(self, width: int):
        self.gamma = nnx.Param(jnp.full(width, 1e-5))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.gamma[...].astype(x.dtype)


class Block(nnx.Module):
    """ViT block: X += Attn(LN X), X += MLP(LN X). With a context, tokens attend to the context
    after the same LN. With a rotation, queries and keys are rotated.

    layer_scale: a gain for each feature of both residuals. gated_mlp: GatedMLP in place of MLP.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        mlp_ratio: float,
        norm_eps: float = 1e-6,
        layer_scale: bool = False,
        gated_mlp: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        mlp, hidden = GatedMLP if gated_mlp else MLP, round(mlp_ratio * width)
        self.norm1 = layer_norm(width, eps=norm_eps, rngs=rngs)
        self.attn = Attention(width=width, heads=heads, dtype=dtype, rngs=rngs)
        self.norm2 = layer_norm(width, eps=norm_eps, rngs=rngs)
        self.mlp = mlp(width=width, hidden=hidden, dtype=dtype, rngs=rngs)
        self.ls1 = LayerScale(width) if layer_scale else None
        self.ls2 = LayerScale(width) if layer_scale else None

    def __call__(
        self,
        x: jax.Array,
        keep: jax.Array | None = None,
        context: jax.Array | None = None,
        rotation: Rotation | None = None,
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D]; `keep` [2, B] as drawn by `draw_drop_path`."""
        x = constrain(x, BATCH, None, None)
        attended = self.attn.attend(self.norm1(x), self._norm(context), rotation)
        x += dropped(scaled(attended, self.ls1), keep, 0)
        x += dropped(scaled(self.mlp(self.norm2(x)), self.ls2), keep, 1)
        return constrain(x, BATCH, None, None)

    def attention(
        self,
        x: jax.Array,
        context: jax.Array | None = None,
        rotation: Rotation | None = None,
    ) -> jax.Array:
        """Attention probabilities of this block, float32 [B, H, T, S]."""
        return self.attn.weights(self.norm1(x), self._norm(context), rotation)

    def _norm(self, context: jax.Array | None) -> jax.Array | None:
        return None if context is None else self.norm1(context)


class RegisterBlock(nnx.Module):
    """RATS block on (registers [B, H, n, D], patches [B, L, D]).

    parallel: "none"; or the fine-tuning form (Eq. 8), which adds self-attention among the patches:
        X + RegisterAttn(LN X) + MHSA(LN X), with the block's own projections ("shared") or a second
        set ("separate", under `patch_attn`).
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        mlp_ratio: float,
        communicate: str,
        sharing: str,
        parallel: str,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        if parallel not in ("none", "shared", "separate"):
            raise ValueError(f'parallel is "none", "shared" or "separate", not {parallel!r}')
        self.parallel = parallel
        self.norm1 = layer_norm(width, rngs=rngs)
        self.attn = RegisterAttention(
            width=width,
            heads=heads,
            communicate=communicate,
            sharing=sharing,
            dtype=dtype,
            rngs=rngs,
        )
        if parallel == "separate":
            self.patch_attn = Attention(width=width, heads=heads, dtype=dtype, rngs=rngs)
        self.norm2 = layer_norm(width, rngs=rngs)
        self.mlp = MLP(width=width, hidden=round(mlp_ratio * width), dtype=dtype, rngs=rngs)

    def __call__(
        self, tokens: tuple[jax.Array, jax.Array], keep: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        registers, patches = shard_tokens(*tokens)
        normed = self.norm1(patches)
        to_registers, to_patches, _ = self.attn(self.norm1(registers), normed)
        if self.parallel == "shared":
            to_patches += self.attn.attend(normed)
        elif self.parallel == "separate":
            to_patches += self.patch_attn.attend(normed)
        registers += dropped(to_registers, keep, 0)
        patches += dropped(to_patches, keep, 0)
        # Gathering the MLP's 8 D^2 numbers moves far less data than gathering a batch's registers.
        return shard_tokens(
            registers + dropped(self.mlp(self.norm2(registers), whole=True), keep, 1),
            patches + dropped(self.mlp(self.norm2(patches)), keep, 1),
        )

    def attention(self, tokens: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Compress attention of this block, float32 [B, H, n, L]."""
        registers, patches = tokens
        return self.attn(self.norm1(registers), self.norm1(patches))[2]


def shard_tokens(registers: jax.Array, patches: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shards registers [B, H, n, D], each with its head, and patches [B, L, D] on the mesh."""
    return constrain(registers, BATCH, TENSOR, None, None), constrain(patches, BATCH, None, None)


def draw_drop_path(key: jax.Array, *, rate: float, depth: int, batch: int) -> jax.Array:
    """What each residual is multiplied by: float32 [depth, 2, B], 0 or 1 / (1 - rate of the layer).

    The rate rises linearly from 0 in the first layer. Each image has one draw for attention and
    another for the MLP (timm's DropPath).
    """
    kept = 1 - jnp.linspace(0, rate, depth)[:, None, None]
    return jax.random.bernoulli(key, kept, (depth, 2, batch)) / kept


def scaled(residual: jax.Array, by: LayerScale | None) -> jax.Array:
    return residual if by is None else by(residual)


def dropped(residual: jax.Array, keep: jax.Array | None, branch: int) -> jax.Array:
    """The residual [B, ...] after drop path; branch 0 is attention, 1 the MLP."""
    if keep is None:
        return residual
    keep = keep[branch].astype(residual.dtype)
    return residual * keep.reshape(-1, *[1] * (residual.ndim - 1))


def stack(make: Callable[[nnx.Rngs], nnx.Module], *, depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """`depth` modules made by `make`, as one whose parameters have a leading depth axis."""
    vmapped = nnx.vmap(make, transform_metadata={nnx.PARTITION_NAME: None})
    return vmapped(rngs.split(depth))


def layer(blocks: nnx.Module, index: int) -> nnx.Module:
    """One block of a stack."""
    graphdef, params = nnx.split(blocks)
    return nnx.merge(graphdef, jax.tree.map(lambda x: x[index], params))


def run_blocks(
    blocks: nnx.Module,
    tokens,
    *,
    layers: range,
    keep: jax.Array | None = None,
    remat: str = "none",
    unroll: int = 1,
    attention_of: Collection[int] = (),
    tokens_of: Collection[int] = (),
    **shared,
):
    """Apply some `layers` of a stack to a pytree of tokens; returns tokens, {layer: attention} and
    {layer: its tokens}.

    keep: [depth, 2, B] of the whole stack. remat: a name in `remat.POLICIES`. unroll: blocks in one
    iteration of the compiled loop. tokens_of: if these are the last of `layers`, the compiled loop
    stores their tokens; otherwise, and with `attention_of`, the stack is unrolled in Python: for
    inspection, not for training. shared: further arguments of every block.
    """
    first = min(tokens_of, default=layers.stop)
    if attention_of or set(tokens_of) != set(range(first, layers.stop)):
        attention, passed = {}, {}
        for i in layers:
            block = layer(blocks, i)
            if i in attention_of:
                attention[i] = block.attention(tokens, **shared)
            tokens = block(tokens, None if keep is None else keep[i], **shared)
            if i in tokens_of:
                passed[i] = tokens
        return tokens, attention, passed

    graphdef, params = nnx.split(blocks)

    def scan(tokens, layers: range, passes: bool):
        def body(tokens, layer):
            params, keep = layer
            tokens = nnx.merge(graphdef, params)(tokens, keep, **shared)
            return tokens, tokens if passes else None

        if remat != "none":
            body = rematerialize(body, POLICIES[remat])
        part = jax.tree.map(lambda x: x[layers.start : layers.stop], (params, keep))
        return jax.lax.scan(body, tokens, part, unroll=unroll)

    if first > layers.start:
        tokens, _ = scan(tokens, range(layers.start, first), False)
    if first == layers.stop:
        return tokens, {}, {}
    tokens, passed = scan(tokens, range(first, layers.stop), True)
    by_layer = (jax.tree.map(lambda x, i=i: x[i], passed) for i in range(layers.stop - first))
    return tokens, {}, dict(enumerate(by_layer, first))


def watched(layers: Sequence[int], depth: int) -> set[int]:
    """Layer numbers, negative ones counted from the end, as a set; an unknown layer is an error."""
    unknown = [i for i in layers if not -depth <= i < depth]
    if unknown:
        raise ValueError(f"no layer {unknown[0]} in a model of {depth} layers")
    return {i % depth for i in layers}
