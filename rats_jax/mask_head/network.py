"""Backbone and head as one function from uint8 images to predictions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rats_jax.mask_head.head import MaskHead, Masks, apply, linear, mask_logits
from rats_jax.mask_head.options import HeadOptions
from rats_jax.models import Features
from rats_jax.models.axes import BATCH, constrain
from rats_jax.models.remat import rematerialize


class MaskPrediction(NamedTuple):
    """class_logits: float32 [B, Q, C + 1], the last for no object. mask_logits: float32
    [B, Q, h, w]."""

    class_logits: jax.Array
    mask_logits: jax.Array


class LabelPrediction(NamedTuple):
    """label_logits: float32 [B, C, h, w], to be resized to the image bilinearly."""

    label_logits: jax.Array


@dataclass(frozen=True, kw_only=True)
class Network:
    """The static part of a model; parameters are passed in, as a plain tree {"backbone": ...,
    "decoder": ...} of float32 arrays.

    mean, std: by which the backbone's images are normalised, of values in [0, 1].
    """

    backbone: nnx.GraphDef = field(repr=False)
    decoder: nnx.GraphDef = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch: int
    depth: int
    drop_path: float
    classes: int
    queries: int

    def normalised(self, images: jax.Array) -> jax.Array:
        """uint8 [B, H, W, 3] -> float32, as the backbone takes it."""
        mean, std = jnp.array(self.mean), jnp.array(self.std)
        return (constrain(images, BATCH, None, None, None) / 255.0 - mean) / std

    def grid(self, images: jax.Array) -> tuple[int, int]:
        """h, w of the patches."""
        return images.shape[1] // self.patch, images.shape[2] // self.patch

    def features(self, params: dict, images: jax.Array, **options) -> Features:
        """Of uint8 images; options are those of the backbone."""
        with jax.named_scope("backbone"):
            backbone = nnx.merge(self.backbone, params["backbone"])
            return backbone(self.normalised(images), **options)


@dataclass(frozen=True, kw_only=True)
class MaskNetwork(Network):
    """Mask classification by registers. supervised: see `HeadOptions`. remat: whether the backward
    pass computes the head again instead of storing its arrays."""

    supervised: int
    remat: bool

    def predict(self, params: dict, images: jax.Array) -> MaskPrediction:
        """uint8 [B, H, W, 3], whose sides are multiples of the patch."""
        features = self.features(params, images)
        masks = self._head(params, features.registers, features.patches, self.grid(images))
        logits = mask_logits(masks.embeddings, masks.pixels)
        return MaskPrediction(masks.class_logits, jnp.moveaxis(logits, -1, 1))

    def outputs(self, params: dict, images: jax.Array, keep: jax.Array | None) -> Masks:
        """The outputs after each supervised layer, [B, layers, ...], the last layer last.

        keep: drop path [depth, 2, B], or None.
        """
        layers = range(self.depth - self.supervised, self.depth)
        features = self.features(params, images, keep=keep, layers_of=layers)
        # Images before layers: merged, the images of a device stay together.
        registers, patches = (
            jnp.stack([getattr(features.layers[i].normed, name) for i in layers], axis=1)
            for name in ("registers", "patches")
        )
        batch = registers.shape[:2]
        registers, patches = (x.reshape(-1, *x.shape[2:]) for x in (registers, patches))
        masks = self._head(params, registers, patches, self.grid(images))
        return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), masks)

    def _head(self, params: dict, registers, patches, grid: tuple[int, int]) -> Masks:
        def head(params: dict, registers: jax.Array, patches: jax.Array) -> Masks:
            return nnx.merge(self.decoder, params)(registers, patches, grid)

        with jax.named_scope("head"):
            head = rematerialize(head) if self.remat else head
            return head(params["decoder"], registers, patches)


@dataclass(frozen=True, kw_only=True)
class LinearNetwork(Network):
    """A linear layer on the patches of the last layer, after the final norm."""

    def predict(self, params: dict, images: jax.Array) -> LabelPrediction:
        """uint8 [B, H, W, 3], whose sides are multiples of the patch."""
        return LabelPrediction(jnp.moveaxis(self.label_logits(params, images, None), -1, 1))

    def label_logits(self, params: dict, images: jax.Array, keep: jax.Array | None) -> jax.Array:
        """float32 [B, h, w, C], of the grid of patches. keep: drop path [depth, 2, B], or None."""
        patches = self.features(params, images, keep=keep).patches
        with jax.named_scope("head"):
            decoder = nnx.merge(self.decoder, params["decoder"])
            logits = decoder(patches).astype(jnp.float32)
        return logits.reshape(len(logits), *self.grid(images), -1)


class LinearHead(nnx.Module):
    """[B, L, D] -> [B, L, C]"""

    def __init__(self, *, width: int, classes: int, rngs: nnx.Rngs):
        self.classify = linear(width, classes, rngs=rngs)

    def __call__(self, patches: jax.Array) -> jax.Array:
        return apply(self.classify, patches)


def make_mask_network(
    make_backbone: Callable[[nnx.Rngs], nnx.Module],
    *,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    options: HeadOptions,
) -> tuple[MaskNetwork, Callable[[jax.Array], dict]]:
    """The network, and the function that makes its parameters from a key.

    Raises ValueError for a backbone without registers in every supervised layer.
    """
    backbone, queries = _shapes(make_backbone)
    if not queries:
        raise ValueError("the backbone has no registers, so there are no queries")
    supervised = min(options.supervised, backbone.depth)

    def make_head(rngs: nnx.Rngs) -> MaskHead:
        return MaskHead(
            width=backbone.norm.scale.shape[-1],
            classes=classes,
            options=options,
            dtype=backbone.dtype,
            rngs=rngs,
        )

    remat = {"supervised": supervised, "remat": backbone.remat != "none"}
    return _network(
        MaskNetwork, make_backbone, make_head, backbone, classes, queries, mean, std, **remat
    )


def make_linear_network(
    make_backbone: Callable[[nnx.Rngs], nnx.Module],
    *,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[LinearNetwork, Callable[[jax.Array], dict]]:
    """The network, and the function that makes its parameters from a key."""
    backbone, queries = _shapes(make_backbone)

    def make_head(rngs: nnx.Rngs) -> LinearHead:
        return LinearHead(width=backbone.norm.scale.shape[-1], classes=classes, rngs=rngs)

    return _network(LinearNetwork, make_backbone, make_head, backbone, classes, queries, mean, std)


def _shapes(make_backbone: Callable[[nnx.Rngs], nnx.Module]) -> tuple[Any, int]:
    """The backbone without values, and the number of its registers."""
    backbone: Any = nnx.eval_shape(lambda: make_backbone(nnx.Rngs(0)))
    side = backbone.patch_embed.patch
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return backbone, nnx.eval_shape(lambda model, x: model(x), backbone, image).registers.shape[1]


def _network(kind, make_backbone, make_head, backbone, classes, queries, mean, std, **more):
    def init(key: jax.Array) -> dict:
        keys = jax.random.split(key)
        makers = {"backbone": make_backbone, "decoder": make_head}
        return {
            name: nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key))))
            for (name, make), key in zip(makers.items(), keys, strict=True)
        }

    network = kind(
        backbone=nnx.split(backbone)[0],
        decoder=nnx.split(nnx.eval_shape(lambda: make_head(nnx.Rngs(0))))[0],
        mean=tuple(mean),
        std=tuple(std),
        patch=backbone.patch_embed.patch,
        depth=backbone.depth,
        drop_path=backbone.drop_path,
        classes=classes,
        queries=queries,
        **more,
    )
    return network, init
