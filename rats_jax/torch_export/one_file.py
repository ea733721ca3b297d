"""The files of every export: model.safetensors, config.json, and modeling_rats.py to load them."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy

from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.models.options import Options
from rats_jax.weights import names

#: The folder of the files that are copied into an export.
FILES = Path(__file__).parent / "files"


def write(
    folder: Path,
    *,
    options: Options,
    params: dict,
    about: dict,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> None:
    """Writes the files.

    params: the parameter tree of the backbone. about: plain values for config.json that say where
    the model comes from. mean, std: to normalise images in 0..1."""
    content = safetensors.numpy.save(names.to_torch(params), metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(content)
    config = {"model_type": "rats", "options": options.asdict()}
    config |= {"image_mean": list(mean), "image_std": list(std), "made_from": about}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    shutil.copy(FILES / "modeling_rats.py", folder)


def outputs(folder: Path, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Registers, patches and global vectors of images [B, 3, h, w], by the written model."""
    import torch

    model = modeling(folder).load(folder)
    with torch.inference_mode():
        return tuple(x.numpy() for x in model(torch.from_numpy(images))[:3])


def modeling(folder: Path):
    """The module `modeling_rats` of an export's folder."""
    spec = importlib.util.spec_from_file_location("modeling_rats", folder / "modeling_rats.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
