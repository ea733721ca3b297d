"""The Perceiver-IO style ablation of the paper's Table 3."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.block import Block, layer, layer_norm, run_blocks, stack, watched
from rats_jax.models.features import Features, Layer, Tokens
from rats_jax.models.linear import init, repeat
from rats_jax.models.patch_embed import PatchEmbed


class Perceiver(nnx.Module):
    """Latents read the patches once and attend to each other for depth - 2 layers; then output
    queries read the latents once.

    The queries, after the final norm, take the place of RATS's registers. Patches pass through no
    layer: the returned patches are the embedded patches after the same norm (the paper does not
    specify them). Arguments as in RATS.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        latents: int = 80,
        queries: int = 96,
        mlp_ratio: int = 4,
        patch: int = 16,
        image_size: int = 224,
        drop_path: float = 0.0,
        position_offset: float = 0.1,
        remat: str = "none",
        unroll: int = 1,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if depth < 3:
            raise ValueError(f"a Perceiver has at least 3 layers, not {depth}")
        self.depth, self.drop_path = depth, drop_path
        self.remat, self.unroll, self.dtype = remat, unroll, dtype
        self.patch_embed = PatchEmbed(
            width=width,
            patch=patch,
            image_size=image_size,
            offset=position_offset,
            dtype=dtype,
            rngs=rngs,
        )
        self.pos_embed = nnx.Param(init(rngs.params(), (self.patch_embed.positions, width)))
        self.latents = nnx.Param(init(rngs.params(), (latents, width)))
        self.queries = nnx.Param(init(rngs.params(), (queries, width)))
        self.blocks = stack(
            lambda rngs: Block(
                width=width, heads=heads, mlp_ratio=mlp_ratio, dtype=dtype, rngs=rngs
            ),
            depth=depth,
            rngs=rngs,
        )
        self.norm = layer_norm(width, rngs=rngs)

    def __call__(
        self,
        images: jax.Array,
        *,
        keep: jax.Array | None = None,
        attention_of: Sequence[int] = (),
        layers_of: Sequence[int] = (),
    ) -> Features:
        """As RATS; only layer 0 attends to patches, and only its attention can be returned."""
        if set(attention_of) - {0}:
            raise ValueError("only layer 0 of a Perceiver attends to the patches")
        wanted, last = watched(layers_of, self.depth), self.depth - 1
        batch = images.shape[0]
        patches = self.patch_embed(images, self.pos_embed[...])
        latents, queries = (repeat(x[...], batch, self.dtype) for x in (self.latents, self.queries))
        keep_in, keep_out = (None, None) if keep is None else (keep[0], keep[-1])

        read_in, read_out = layer(self.blocks, 0), layer(self.blocks, last)
        attention = {0: read_in.attention(latents, patches)} if attention_of else {}
        passed = {0: (latents := read_in(latents, keep_in, patches))}
        latents, _, between = run_blocks(
            self.blocks,
            latents,
            layers=range(1, last),
            keep=keep,
            remat=self.remat,
            unroll=self.unroll,
            tokens_of=wanted - {0, last},
        )
        passed |= between | {last: read_out(queries, keep_out, latents)}

        def tokens(registers: jax.Array, patches: jax.Array) -> Tokens:
            return Tokens(registers, patches, registers.mean(1))

        raw = {i: tokens(x, patches) for i, x in passed.items()}
        normed = {i: tokens(self.norm(passed[i]), self.norm(patches)) for i in {*wanted, last}}
        layers = {i: Layer(raw[i], normed[i]) for i in sorted(wanted)}
        return Features(*normed[last], attention, layers)
