"""Adds the files to an export that transformers and timm need to load it."""

import json
import shutil
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import numpy as np

from rats_jax.torch_export import one_file

CODE = ("hf_rats.py", "timm_rats.py")
#: Entries of config.json by which transformers finds the classes in the folder.
TO_TRANSFORMERS = {
    "architectures": ["RatsModel"],
    "auto_map": {
        "AutoConfig": "hf_rats.RatsConfig",
        "AutoModel": "hf_rats.RatsModel",
        "AutoBackbone": "hf_rats.RatsBackbone",
    },
}
#: The preprocessing of DINO's evaluations, at 224 px: resize the shorter side to 256 (bicubic),
#: then crop the centre.
DINO_EVALUATION = {
    "image_processor_type": "BitImageProcessor",  # in transformers, does exactly these steps
    "do_convert_rgb": True,
    "do_resize": True,
    "resample": 3,  # bicubic
    "do_center_crop": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}


def write(folder: Path) -> None:
    """Adds the code, preprocessor_config.json, and the entries of config.json that transformers
    needs. The folder must already hold model.safetensors, config.json and modeling_rats.py."""
    config = json.loads((folder / "config.json").read_text())
    preprocessing = DINO_EVALUATION | {name: config[name] for name in ("image_mean", "image_std")}
    size = config["options"]["image_size"]
    preprocessing["size"] = {"shortest_edge": round(size * 256 / 224)}
    preprocessing["crop_size"] = {"height": size, "width": size}
    for name, content in {
        "config.json": config | TO_TRANSFORMERS,
        "preprocessor_config.json": preprocessing,
    }.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    for name in CODE:
        shutil.copy(one_file.FILES / name, folder)


def outputs(folder: Path, images: np.ndarray) -> tuple[np.ndarray, ...]:
    """Registers, patches and global vectors of images [B, 3, h, w], by the written model."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = _module(folder, "hf_rats").RatsModel.from_pretrained(folder)
    with torch.inference_mode():
        output = model(torch.from_numpy(images))
    return tuple(
        x.numpy() for x in (output.registers, output.last_hidden_state, output.pooler_output)
    )


def _module(folder: Path, name: str) -> ModuleType:
    """Imports a module of the folder as part of a package. This avoids the copies of code that
    transformers makes in its cache."""
    spec = ModuleSpec("exported", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    for old in [module for module in sys.modules if module.split(".")[0] == "exported"]:
        del sys.modules[old]
    sys.modules["exported"] = module_from_spec(spec)
    return import_module(f"exported.{name}")
