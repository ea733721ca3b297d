"""What every export holds: model.safetensors, config.json, and modeling_rats.py to load them."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import safetensors.numpy

from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.weights import names

#: What is copied into an export.
FILES = Path(__file__).parent / "files"


def write(folder: Path, *, options: dict, params: dict, about: dict) -> None:
    """params: the backbone's tree. about: where it comes from, plain values for config.json."""
    content = safetensors.numpy.save(names.to_torch(params), metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(content)
    config = {"model_type": "rats", "options": options}
    config |= {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD, "made_from": about}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(FILES / "modeling_rats.py", folder)


def outputs(folder: Path, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Registers, patches and global vectors of images [B, 3, h, w], by what was written."""
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
