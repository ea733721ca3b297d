"""Small models in the official DINO layout, as PyTorch saves them."""

import argparse

import torch

from tests.torch_reference.models import ViT

#: Two heads of 64, as the files do not say how many there are.
SIZE = {"width": 128, "depth": 2, "heads": 2, "patch_size": 16, "image_size": 32}


def vit(seed: int = 0) -> ViT:
    torch.manual_seed(seed)
    model = ViT(**SIZE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def checkpoint(student: ViT, teacher: ViT) -> dict:
    """As main_dino.py has it, with a head that is much too small."""
    head = {"head.mlp.0.weight": torch.ones(4, 128), "head.last_layer.weight_v": torch.ones(8, 4)}
    backbones = [
        {f"backbone.{name}": x for name, x in model.state_dict().items()} | head
        for model in (student, teacher)
    ]
    return {
        "student": {f"module.{name}": x for name, x in backbones[0].items()},
        "teacher": backbones[1],
        "optimizer": {"state": {0: {"exp_avg": torch.ones(9)}}, "param_groups": []},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=16),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }
