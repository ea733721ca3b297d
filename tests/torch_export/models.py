"""Models of every kind with random weights, for the tests of exports."""

import jax
import numpy as np
from flax import nnx

from rats_jax.models import Options, make_backbone
from tests.torch_reference.weights import randomised

MODELS = {
    "rats": {"architecture": "rats"},
    "learned": {"architecture": "rats", "communicate": "learned"},
    "shared": {"architecture": "rats", "sharing": "shared"},
    "parallel, shared": {"architecture": "rats", "parallel": "shared"},
    "parallel, separate": {"architecture": "rats", "parallel": "separate"},
    "vit": {"architecture": "vit"},
    "vit with registers": {"architecture": "vit", "plain_registers": 4},
    "perceiver": {"architecture": "perceiver"},
}
SMALL = {"width": 48, "depth": 3, "heads": 3, "image_size": 64, "patch": 16}


def random_params(options: Options | dict) -> tuple[nnx.GraphDef, dict]:
    """Every array matters, and kernels are as large as training makes them, about .04."""
    graph, state = nnx.split(nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0))))
    params = randomised(nnx.to_pure_dict(state), seed=1)
    return graph, jax.tree_util.tree_map_with_path(
        lambda path, x: x / 2 if path[-1].key == "kernel" else x, params
    )


def draw(batch: int, pixels: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 3, *pixels), np.float32)
