"""Features to draw, and a small backbone with random weights."""

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.models import Features
from rats_jax.models.options import RATSOptions, ViTOptions, options_of
from tests.torch_export.models import SMALL, random_params

GRID = (5, 7)
SHAPE = {"width": 8, "depth": 3, "heads": 3}
RATS = RATSOptions(**SHAPE, registers_per_head=2)
VIT = ViTOptions(**SHAPE)


def features(*, registers: int = 6, heads: int = 3, tokens: int = 2, seed: int = 0) -> Features:
    """Of one image of 5 x 7 patches, smooth as those of real images are."""
    draws = np.random.default_rng(seed)
    length = GRID[0] * GRID[1]
    patches = draws.standard_normal((1, length, 8), np.float32).cumsum(1)
    attention = draws.random((1, heads, tokens, length), np.float32)
    return Features(
        jnp.asarray(draws.standard_normal((1, registers, 8), np.float32)),
        jnp.asarray(patches),
        jnp.zeros((1, 8)),
        {2: jnp.asarray(attention / (1 + attention.sum(-1, keepdims=True)))},
        {},
    )


def backbone(kind: dict) -> Backbone:
    options = options_of(SMALL | kind)
    graph, params = random_params(options)
    return Backbone(options, graph, jax.tree.map(jnp.asarray, params), "a model of tests")
