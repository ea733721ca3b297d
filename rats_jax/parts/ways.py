"""Part discovery: the label maps that a model gives for images."""

from typing import Literal, NamedTuple

import jax
import numpy as np

from rats_jax.models import Features
from rats_jax.models.features import Tokens
from rats_jax.parts.null_regions import kmeans_regions
from rats_jax.parts.regions import Argmax, Size, attention_regions, register_regions


class RegionOptions(NamedTuple):
    """How a model's tokens become regions.

    smoothing: sigma of the Gaussian that smooths each map, in patches; 0 for none.
    norm: use tokens of the last layer after ("post") or before ("pre") the final LayerNorm.
    argmax: over maps of patches or of pixels, see `register_regions`.
    """

    smoothing: float = 1.0
    norm: Literal["post", "pre"] = "post"
    argmax: Argmax = "patch"


def region_maps(
    features: Features,
    *,
    has_cls: bool,
    grid: Size,
    k: int,
    size: Size | None,
    options: RegionOptions,
) -> dict[str, np.ndarray]:
    """int32 [B, *size] label maps of K regions, by each method that these features allow; without a
    size, one label per patch.

    "registers": the K best of N registers. "centered registers": the same with centered cosines,
    see `register_maps`. "[CLS] attention": one region per head, for a ViT with K heads. "register
    attention": one region per plain register, for a ViT with K of them, from its attention averaged
    over heads. "k-means": clusters of the patches, always one label per patch whatever
    `options.argmax` is.

    features: with the last layer's attention for a ViT, and its tokens for `options.norm` "pre".
    has_cls: of the backbone's options: whether it is a ViT.
    """
    maps: dict[str, jax.Array | np.ndarray] = {}
    tokens: Features | Tokens = features
    if options.norm == "pre":
        ((_, layer),) = features.layers.items()
        tokens = layer.raw
    shape = {
        "grid": grid,
        "sigma": options.smoothing,
        "size": size,
        "argmax": options.argmax,
    }
    registers = tokens.registers.shape[1]
    if registers >= k and not has_cls:
        of = {"registers": tokens.registers, "patches": tokens.patches, "top_k": k}
        maps["registers"] = register_regions(**of, **shape)
        maps["centered registers"] = register_regions(**of, **shape, centered=True)
    if has_cls:
        (attention,) = features.attention.values()
        if attention.shape[1] == k:
            maps["[CLS] attention"] = attention_regions(attention=attention[:, :, 0], **shape)
        if registers == k:
            of_registers = attention[:, :, 1:].mean(1)
            maps["register attention"] = attention_regions(attention=of_registers, **shape)
    maps["k-means"] = kmeans_regions(tokens.patches, grid=grid, k=k, size=size)
    return {name: np.asarray(labels) for name, labels in maps.items()}
