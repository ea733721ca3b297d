"""Sizes of parameters at the start: the paper's by default, and otherwise as asked for."""

import jax
import numpy as np
import pytest

from rats_jax.assemble import make_model
from rats_jax.models.start import Scales
from tests.runs.tiny import tiny_config


def parameters(**fields) -> dict:
    _, init = make_model(tiny_config(model__depth=3, **fields))
    params = jax.jit(init)(jax.random.key(0))
    return {jax.tree_util.keystr(k): np.asarray(x) for k, x in jax.tree.leaves_with_path(params)}


@pytest.mark.parametrize("architecture", ["rats", "vit", "perceiver"])
def test_each_is_scaled_and_nothing_else(architecture):
    plain = parameters(model__architecture=architecture)
    scaled = parameters(
        model__architecture=architecture,
        model__kernel_std=0.1,
        model__query_key_gain=2.0,
        model__value_gain=3.0,
    )
    assert plain.keys() == scaled.keys()
    ones = 0
    for name, before in plain.items():
        after = scaled[name]
        if "'qkv']['kernel'" in name:  # [..., D, 3, H, d]
            factors = np.array([10, 10, 15])[:, None, None]
        elif "patch_embed" not in name and name.endswith(("['kernel']", "['pos_embed']")):
            factors = 5
        else:
            factors = 1
            ones += 1
        if "['head']" in name:
            factors = 1
        np.testing.assert_allclose(after, before * factors, rtol=1e-6, err_msg=name)
    assert 0 < ones < len(plain)


def test_the_defaults_are_the_papers():
    assert Scales() == (0.02, 1, 1)
    kernel = parameters(model__width=96, model__heads=4)[
        "['backbone']['blocks']['mlp']['fc1']['kernel']"
    ]
    assert 0.0195 < kernel.std() < 0.0205
