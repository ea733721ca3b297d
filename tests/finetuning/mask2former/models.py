"""Small backbones, configs and targets for the tests of Mask2Former."""

import torch
from ml_collections import ConfigDict

from rats_jax.backbones import Backbone
from rats_jax.finetuning.mask2former.model import Segmenter, make_model
from rats_jax.models import options_of
from tests.torch_export.models import SMALL, random_params

CLASSES = ("wheel", "door", "lamp")
RATS = {"architecture": "rats", "registers_per_head": 2}
#: The kinds of backbones that weights may hold.
BACKBONES = {
    "rats": RATS,
    "rats, registers shared": RATS | {"sharing": "shared"},
    "rats, learned communicate": RATS | {"communicate": "learned"},
    "vit": {"architecture": "vit"},
    "dinov2": {
        "architecture": "vit",
        "layer_scale": True,
        "gated_mlp": True,
        "positions": "learned_antialiased",
        "patch": 8,
    },
    "dinov3": {
        "architecture": "vit",
        "layer_scale": True,
        "positions": "rope",
        "rope_periods": [1.0, 3.0, 10.0, 30.0],
        "plain_registers": 2,
    },
}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def backbone_of(**options) -> Backbone:
    """A small one with random weights, and its own normalisation."""
    options = options_of(SMALL | options)
    graph, params = random_params(options)
    return Backbone(options, graph, params, "random weights", MEAN, STD)


def config(**changes) -> ConfigDict:
    """Fields of fine-tuning; changes: {"section.field": value}."""
    made = ConfigDict(
        {
            "model": {
                "parallel": "shared",
                "parallel_start": "copy",
                "freeze": "none",
                "drop_path": 0.0,
                "remat": "none",
            },
            "decoder": {
                "queries": "registers",
                "learned_queries": 5,
                "width": 32,
                "layers": 3,
                "pixel_layers": 1,
                "heads": 4,
                "feedforward": 48,
                "pixel_feedforward": 40,
            },
            "loss": {
                "class_weight": 2.0,
                "mask_weight": 5.0,
                "dice_weight": 4.0,
                "no_object": 0.1,
                "points": 64,
                "oversample": 3.0,
                "importance": 0.75,
            },
            "optimizer": {
                "learning_rate": 1e-4,
                "backbone_rate": 0.1,
                "layer_decay": 1.0,
                "weight_decay": 0.05,
            },
        }
    )
    made.update_from_flattened_dict(changes)
    return made


def make(backbone: Backbone | None = None, *, seed: int = 0, **changes) -> Segmenter:
    torch.manual_seed(seed)
    return make_model(backbone or backbone_of(**RATS), config(**changes), classes=CLASSES)


def draw(*shape: int) -> torch.Tensor:
    """Images [B, 3, H, W] in 0..255."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).float()


def draw_targets(numbers: list[int], size: tuple[int, int]) -> list[tuple]:
    """So many masks of each image, with classes."""
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.rand((number, *size), generator=generator) < 0.4,
            torch.randint(0, len(CLASSES), (number,), generator=generator),
        )
        for number in numbers
    ]
