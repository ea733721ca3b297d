"""Writes a checkpoint like the official DINO code (facebookresearch/dino, `main_dino.py`)."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.errors import UserError
from rats_jax.torch_export import one_file
from rats_jax.weights.names import to_torch

#: Official argument -> the field of our config with the same meaning.
ARGUMENTS = {
    "seed": "seed",
    "patch_size": "model.patch",
    "drop_path_rate": "model.drop_path",
    "out_dim": "head.prototypes",
    "norm_last_layer": "head.norm_last_layer",
    "global_crops_scale": "crops.global_scale",
    "local_crops_scale": "crops.local_scale",
    "local_crops_number": "crops.local_crops",
    "warmup_teacher_temp": "dino.teacher_temperature_start",
    "teacher_temp": "dino.teacher_temperature",
    "warmup_teacher_temp_epochs": "dino.teacher_temperature_warmup_epochs",
    "momentum_teacher": "dino.teacher_momentum",
    "freeze_last_layer": "dino.freeze_last_layer_epochs",
    "batch_size_per_gpu": "optimizer.batch_size",
    "epochs": "optimizer.epochs",
    "warmup_epochs": "optimizer.warmup_epochs",
    "lr": "optimizer.learning_rate",
    "min_lr": "optimizer.end_learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "weight_decay_end": "optimizer.end_weight_decay",
    "clip_grad": "optimizer.clip",
}
SIZES = {192: "tiny", 384: "small", 768: "base"}


def write(
    folder: Path,
    *,
    student: Mapping,
    teacher: Mapping,
    center: np.ndarray,
    config: ConfigDict,
    epoch: int,
) -> None:
    """Writes checkpoint.pth, and the launcher of the official scripts.

    student, teacher: parameter trees {"backbone", "head"}. center: float32 [G, K]; the official
    code has only G = 1. epoch: the number of finished epochs, as in the official code.

    The file holds only tensors and plain values, so that `torch.load` reads it with its defaults.
    """
    import torch

    content = {
        # The official student is wrapped for several GPUs, which adds this prefix to its names.
        "student": _state(student, "module."),
        "teacher": _state(teacher, ""),
        "epoch": epoch,
        "args": arguments(config),
        "dino_loss": {"center": torch.tensor(np.asarray(center, np.float32))},
    }
    try:
        torch.save(content, folder / "checkpoint.pth")
    except RuntimeError as error:  # PyTorch raises this for any error of the disk
        reason = str(error).splitlines()[0]
        raise UserError(
            f"checkpoint.pth cannot be written to {folder.parent} ({reason}): free some space "
            "there, or choose another --output"
        ) from None
    shutil.copy(one_file.FILES / "official_dino.py", folder)


def outputs(folder: Path, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Registers, patches and global vectors of images [B, 3, h, w], computed with the written
    checkpoint: by its student or teacher, whichever the rest of the folder holds."""
    import torch

    config = json.loads((folder / "config.json").read_text())
    state = torch.load(folder / "checkpoint.pth", weights_only=True)[config["made_from"]["weights"]]
    model = one_file.modeling(folder).build(config["options"])
    model.load_state_dict(
        {
            name.partition("backbone.")[2]: tensor
            for name, tensor in state.items()
            if "backbone." in name
        }
    )
    with torch.inference_mode():
        return tuple(x.numpy() for x in model(torch.from_numpy(images))[:3])


def arguments(config: ConfigDict) -> dict:
    """The arguments of a run with their official names, as if it had one process. "rats_options"
    holds the options of the backbone in rats_jax."""
    model, given = config.model, {}
    for name, field in ARGUMENTS.items():
        section, _, last = field.rpartition(".")
        value = (config[section] if section else config)[last]
        given[name] = list(value) if isinstance(value, tuple) else value
    return given | {
        "arch": f"{model.architecture}_{SIZES.get(model.width, 'other')}",
        "use_bn_in_head": False,
        "optimizer": "adamw",
        "world_size": 1,
        "rats_options": backbone_options(config).asdict(),
    }


def _state(params: Mapping, prefix: str) -> dict:
    """Backbone and head of a network, as copied tensors."""
    import torch

    parts = {name: to_torch(params[name]) for name in ("backbone", "head")}
    gain = "last_layer.weight_g"
    if gain not in parts["head"]:  # fixed at 1, so no parameter here; official files always have it
        prototypes = len(parts["head"]["last_layer.weight_v"])
        parts["head"][gain] = np.ones((prototypes, 1), np.float32)
    return {
        f"{prefix}{part}.{name}": torch.tensor(array)
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }
