"""First starts of small runs from given weights, without training."""

from pathlib import Path

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from rats_jax.assemble import make_model
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.runs.initial.first_start import first_start
from rats_jax.runs.initial.initial import Initial
from tests.runs.tiny import tiny_config
from tests.torch_reference.weights import randomised

SOURCE = ProceduralParts(size=16, length=40, seed=0)


def start(checkpoint, **fields) -> tuple[ConfigDict, Initial]:
    """As the first start of a run in a new workdir. fields: as of `tiny_config`."""
    config = tiny_config(init__checkpoint=str(checkpoint), **fields)
    config, initial = first_start(config, "/nowhere/run", SOURCE, None)
    return config, initial


def side(initial: Initial, name: str = "teacher") -> dict:
    """The parameters of one network that come from the weights, as a tree."""
    return traverse_util.unflatten_dict(initial.arrays, sep="/")[name]


def network(seed: int = 0, **fields) -> dict:
    """The parameters of a network of `tiny_config` in which every array matters."""
    _, init = make_model(tiny_config(**fields))
    return randomised(jax.eval_shape(init, jax.random.key(0)), seed=seed)


def images(pixels: int) -> np.ndarray:
    """Pixels in 0..1."""
    return np.random.default_rng(1).random((2, pixels, pixels, 3), np.float32)


def assert_same(a: dict, b: dict) -> None:
    """That two trees are equal to the last bit."""
    a, b = (traverse_util.flatten_dict(x, sep="/") for x in (a, b))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def folder_of(state: dict, folder: Path) -> Path:
    """A file of these tensors."""
    from safetensors.numpy import save_file

    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"
