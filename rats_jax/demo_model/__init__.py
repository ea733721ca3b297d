"""A small RATS that was trained on drawings, whose training `make demo` continues.

README.md beside this file says by which command, and what it scores.
"""

import json
from pathlib import Path

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict
from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


def load() -> dict:
    """{"backbone": ..., "head": ..., "center": ...}, float32, as `runs.loop.train` takes them."""
    with safe_open(FOLDER / WEIGHTS, "np") as file:
        flat = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
    return traverse_util.unflatten_dict(flat, sep=".")


def steps() -> int:
    """That it was trained for."""
    with safe_open(FOLDER / WEIGHTS, "np") as file:
        return int(file.metadata()["step"])


def save(folder: Path, teacher: dict, center: jax.Array, *, config: ConfigDict, step: int) -> None:
    """Weights in float16, and the run's config without the places of this machine."""
    flat = traverse_util.flatten_dict({**teacher, "center": center}, sep=".")
    halves = {name: np.asarray(array).astype(np.float16) for name, array in flat.items()}
    save_file(halves, folder / WEIGHTS, metadata={"step": str(step)})
    (folder / WEIGHTS).chmod(0o644)  # it is made for its owner alone
    fields = config.to_dict()
    fields["data"]["path"] = ""
    (folder / CONFIG).write_text(json.dumps(fields, indent=2) + "\n")
