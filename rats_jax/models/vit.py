"""The ViT: the DINO v1 baseline, with [CLS] and optional plain registers. Options that training
does not use give the ViTs of DINOv2 and DINOv3."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.models.block import Block, layer_norm, run_blocks, stack, watched
from rats_jax.models.features import Features, Layer, Tokens
from rats_jax.models.linear import init, repeat
from rats_jax.models.patch_embed import PatchEmbed
from rats_jax.models.rope import axial_rotation

POSITIONS = ("learned", "learned_antialiased", "rope")


class ViT(nnx.Module):
    """Vision Transformer; tokens are [CLS], patches, then `plain_registers` extra tokens without
    position embedding that are not part of the global vector (Darcet et al. 2023).

    norm_eps: epsilon of every LayerNorm. layer_scale, gated_mlp: see Block.
    positions: "learned", a table that is resampled for other sizes; "learned_antialiased", the same
        with antialiasing (positions.py); or "rope" with `rope_periods`, without a table (rope.py).
    Other arguments as in RATS.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        plain_registers: int = 0,
        mlp_ratio: float = 4,
        patch: int = 16,
        image_size: int = 224,
        norm_eps: float = 1e-6,
        layer_scale: bool = False,
        gated_mlp: bool = False,
        positions: str = "learned",
        rope_periods: Sequence[float] | None = None,
        drop_path: float = 0.0,
        position_offset: float = 0.1,
        remat: str = "none",
        unroll: int = 1,
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if positions not in POSITIONS:
            raise ValueError(f"positions is one of {', '.join(POSITIONS)}, not {positions!r}")
        turned = rope_periods is not None and 4 * len(rope_periods) * heads == width
        if (positions == "rope") != turned:
            raise ValueError('rope_periods, a quarter of a head\'s width, go with positions "rope"')
        self.depth, self.plain_registers, self.drop_path = depth, plain_registers, drop_path
        self.remat, self.unroll, self.dtype = remat, unroll, dtype
        self.rope_periods = None if rope_periods is None else tuple(rope_periods)
        self.patch_embed = PatchEmbed(
            width=width,
            patch=patch,
            image_size=image_size,
            offset=position_offset,
            antialias=positions == "learned_antialiased",
            dtype=dtype,
            rngs=rngs,
        )
        if positions == "rope":
            self.pos_embed = None
        else:
            # [CLS] has a position too, in the same tensor: clipping by tensor depends on it.
            rows = 1 + self.patch_embed.positions
            self.pos_embed = nnx.Param(init(rngs.params(), (rows, width)))
        self.cls_token = nnx.Param(init(rngs.params(), (width,)))
        if plain_registers:
            self.registers = nnx.Param(init(rngs.params(), (plain_registers, width)))
        self.blocks = stack(
            lambda rngs: Block(
                width=width,
                heads=heads,
                mlp_ratio=mlp_ratio,
                norm_eps=norm_eps,
                layer_scale=layer_scale,
                gated_mlp=gated_mlp,
                dtype=dtype,
                rngs=rngs,
            ),
            depth=depth,
            rngs=rngs,
        )
        self.norm = layer_norm(width, eps=norm_eps, rngs=rngs)

    def __call__(
        self,
        images: jax.Array,
        *,
        keep: jax.Array | None = None,
        attention_of: Sequence[int] = (),
        layers_of: Sequence[int] = (),
    ) -> Features:
        """As RATS; the attention returned is that of [CLS] and the registers to the patches,
        a part of a softmax over all tokens."""
        batch = images.shape[0]
        if self.pos_embed is None:
            cls_position, table = jnp.zeros((1, 1)), None
            rotation = axial_rotation(
                self.patch_embed.grid(images),
                self.rope_periods,
                before=1,
                after=self.plain_registers,
            )
        else:
            cls_position, table = jnp.split(self.pos_embed[...], [1])
            rotation = None
        patches = self.patch_embed(images, table)
        last_patch = 1 + patches.shape[1]

        def parted(tokens: jax.Array) -> Tokens:
            return Tokens(tokens[:, last_patch:], tokens[:, 1:last_patch], tokens[:, 0])

        tokens = [repeat(self.cls_token[...] + cls_position, batch, self.dtype), patches]
        if self.plain_registers:
            tokens.append(repeat(self.registers[...], batch, self.dtype))
        tokens, attention, passed = run_blocks(
            self.blocks,
            jnp.concatenate(tokens, axis=1),
            layers=range(self.depth),
            keep=keep,
            remat=self.remat,
            unroll=self.unroll,
            attention_of=watched(attention_of, self.depth),
            tokens_of=watched(layers_of, self.depth),
            rotation=rotation,
        )
        attention = {
            i: jnp.concatenate([a[:, :, :1], a[:, :, last_patch:]], axis=2)[..., 1:last_patch]
            for i, a in attention.items()
        }
        layers = {i: Layer(parted(x), parted(self.norm(x))) for i, x in passed.items()}
        return Features(*parted(self.norm(tokens)), attention, layers)
