"""Backbones and the DINO head: pure mathematics on arrays.

Shape letters, used in names and docstrings everywhere in this package:

    B  images (or crops)      L  patches, L = h * w     h, w  patch grid
    D  width                  H  heads                  d  head width, D = H * d
    n  registers per head     N  registers, N = n * H   T  tokens of any kind
    M  MLP hidden width       K  prototypes             V  crops of one image

Parameters of the blocks are stacked: every array under `blocks` has a leading depth axis.
"""

from collections.abc import Mapping

from flax import nnx

from rats_jax.models.dino_head import DINOHead
from rats_jax.models.features import Features
from rats_jax.models.options import Options, options_of
from rats_jax.models.perceiver import Perceiver
from rats_jax.models.rats import RATS
from rats_jax.models.vit import ViT

#: Width, depth and heads of the usual sizes (Ti, S, B, L of DeiT and ViT, g of DINOv2).
SIZES = {
    "Ti": {"width": 192, "depth": 12, "heads": 3},
    "S": {"width": 384, "depth": 12, "heads": 6},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
    "g": {"width": 1536, "depth": 40, "heads": 24},
}

ARCHITECTURES = {"rats": RATS, "vit": ViT, "perceiver": Perceiver}


def make_backbone(options: Options | Mapping, **others) -> nnx.Module:
    """The backbone that these options, or a dict of them, describe.

    options: what the backbone computes (architecture, width, depth, heads, ...); the same dict
        makes the PyTorch model (torch_export). others: further arguments: drop_path, dtype, rngs,
        ...
    """
    options = options_of(options)
    return ARCHITECTURES[options.architecture](**options.arguments(), **others)


__all__ = [
    "ARCHITECTURES",
    "SIZES",
    "RATS",
    "DINOHead",
    "Features",
    "Options",
    "Perceiver",
    "ViT",
    "make_backbone",
    "options_of",
]
