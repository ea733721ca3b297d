"""A trained model as a folder that transformers opens without this package."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former import card
from rats_jax.finetuning.mask2former.files import ENCODERS
from rats_jax.finetuning.mask2former.model import Segmenter
from rats_jax.finetuning.mask2former.tensor_files import save_tensors
from rats_jax.paths import printable
from rats_jax.results_folder import new_folder

FILES = Path(__file__).parent / "files"
CODE = (
    FILES / "rats_mask2former.py",
    FILES / "rats_pyramid.py",
    ENCODERS / "modeling_rats.py",
)
#: Entries of config.json by which transformers finds the classes in the folder.
TO_TRANSFORMERS = {
    "architectures": ["RatsMask2Former"],
    "auto_map": {
        "AutoConfig": "rats_mask2former.RatsMask2FormerConfig",
        "AutoModelForUniversalSegmentation": "rats_mask2former.RatsMask2Former",
    },
}


def export(
    model: Segmenter,
    folder: str | os.PathLike,
    about: Mapping[str, object],
    *,
    short_side: int = 512,
    long_side: int = 2048,
) -> None:
    """Makes the folder, whole or not at all. An older export there is replaced.

    about: plain values that say where the model comes from, for config.json and README.md.
    short_side, long_side: images are resized so that the shorter side has `short_side` pixels and
    the longer at most `long_side`, as in the evaluation of the run.

    Raises:
      UserError: the folder has other files, or cannot be written.
    """
    target = Path(folder).resolve()
    check_free(target)
    with new_folder(target, flag="the export") as path:
        config = model.network.config.to_dict() | TO_TRANSFORMERS | {"made_from": dict(about)}
        preprocessing = preprocessor(model, short_side=short_side, long_side=long_side)
        for name, content in (("config", config), ("preprocessor_config", preprocessing)):
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (path / f"{name}.json").write_text(text, "utf-8")
        state = {
            name: tensor.detach().float().cpu().contiguous()
            for name, tensor in model.network.state_dict().items()
        }
        save_tensors(state, path / "model.safetensors", metadata={"format": "pt"})
        check_written(state, path / "model.safetensors")
        for file in CODE:
            shutil.copy(file, path)
        card.write(path, name=target.name, model=model, about=about)
        if target.exists():
            shutil.rmtree(target)  # the older export: the new one is complete


def preprocessor(model: Segmenter, *, short_side: int, long_side: int) -> dict:
    """preprocessor_config.json, of transformers' Mask2FormerImageProcessor."""
    mean, std = ([float(x) for x in values.flatten()] for values in (model.mean, model.std))
    return {
        "image_processor_type": "Mask2FormerImageProcessor",
        "do_resize": True,
        "resample": 2,  # bilinear
        "size": {"shortest_edge": short_side, "longest_edge": long_side},
        "size_divisor": model.multiple,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
        "num_labels": model.network.config.num_labels,
    }


def check_free(target: Path) -> None:
    """Raises UserError unless the folder is empty, does not exist, or holds an export."""
    if not target.exists():
        return
    if target.is_dir():
        names = {file.name for file in target.iterdir()}
        if not names or {"model.safetensors", "rats_mask2former.py"} <= names:
            return
    raise UserError(
        f"{printable(str(target))} already exists and is no export of this command: choose a new "
        "folder, or remove this one"
    )


def check_written(state: Mapping[str, torch.Tensor], file: Path) -> None:
    """Raises OSError unless the file holds these tensors."""
    found = load_file(file)
    if found.keys() != state.keys() or not all(torch.equal(found[x], state[x]) for x in state):
        raise OSError("the disk returned other weights than were written")
