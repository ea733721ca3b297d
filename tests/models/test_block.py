"""Drop path, stacking, unrolling and rematerialisation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from rats_jax.assemble import make_model
from rats_jax.models import RATS, Perceiver, ViT
from rats_jax.models.block import draw_drop_path
from rats_jax.models.gelu import gelu
from tests.runs.tiny import tiny_config

SMALL = dict(width=24, depth=4, heads=3, patch=8, image_size=16)


def outputs(model, images, *, key=None):
    graph, state = nnx.split(model)
    keep = None
    if key is not None:
        keep = draw_drop_path(key, rate=model.drop_path, depth=model.depth, batch=len(images))

    def scalar(state):
        features = nnx.merge(graph, state)(images, keep=keep)
        return sum(jnp.sum(jnp.sin(x)) for x in features[:3])

    return jax.jit(jax.value_and_grad(scalar))(nnx.to_pure_dict(state))


def test_drop_path_rises_linearly_and_keeps_the_mean():
    depth, batch, rate = 5, 20_000, 0.4
    keep = draw_drop_path(jax.random.key(0), rate=rate, depth=depth, batch=batch)
    assert keep.shape == (depth, 2, batch)
    for layer in range(depth):
        expected = rate * layer / (depth - 1)
        assert np.mean(np.asarray(keep[layer]) == 0) == pytest.approx(expected, abs=0.01)
        np.testing.assert_allclose(np.unique(keep[layer])[-1], 1 / (1 - expected), rtol=1e-6)
        assert np.mean(keep[layer]) == pytest.approx(1, abs=0.02)


def test_drop_path_draws_apart_for_attention_and_mlp():
    keep = np.asarray(draw_drop_path(jax.random.key(0), rate=0.5, depth=2, batch=1000)[1] > 0)
    assert np.mean(keep[0] == keep[1]) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("model", [RATS, ViT, Perceiver])
def test_an_image_whose_every_branch_is_dropped_passes_through(model):
    """At a rate near 1 the last layer drops nearly all: its parameters then have no gradient."""
    images = jax.random.normal(jax.random.key(0), (3, 16, 16, 3))
    module = model(**SMALL, drop_path=1 - 1e-6, rngs=nnx.Rngs(0))
    _, gradients = outputs(module, images, key=jax.random.key(1))
    last = jax.tree.map(lambda x: np.abs(x[-1]).max(), gradients["blocks"])
    first = jax.tree.map(lambda x: np.abs(x[0]).max(), gradients["blocks"])
    assert max(jax.tree.leaves(last)) == 0
    if model is not Perceiver:  # whose first layer feeds nothing but later, dropped ones
        assert min(jax.tree.leaves(first["mlp"])) > 0
    _, without = outputs(module, images)
    assert min(np.abs(x[-1]).max() for x in jax.tree.leaves(without["blocks"]["mlp"])) > 0


@pytest.mark.parametrize("model", [RATS, ViT, Perceiver])
@pytest.mark.parametrize("options", [{"unroll": 4}, {"remat": "dots"}, {"remat": "full"}])
def test_unrolling_and_rematerialisation_change_no_value_and_no_gradient(model, options):
    images = jax.random.normal(jax.random.key(0), (2, 16, 24, 3))
    key = jax.random.key(1)
    plain = model(**SMALL, drop_path=0.2, rngs=nnx.Rngs(0))
    other = model(**SMALL, drop_path=0.2, rngs=nnx.Rngs(0), **options)
    (value, gradient), (other_value, other_gradient) = (
        outputs(module, images, key=key) for module in (plain, other)
    )
    np.testing.assert_allclose(value, other_value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(other_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 + 1e-5 * float(np.abs(a).max()))


def test_blocks_of_a_stack_start_apart():
    kernel = RATS(**SMALL, rngs=nnx.Rngs(0)).blocks.mlp.fc1.kernel[...]
    assert kernel.shape[0] == 4
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01
    assert float(jnp.std(kernel)) == pytest.approx(0.02, rel=0.03)


def test_registers_start_as_far_from_each_other_as_they_are_told():
    """And nothing else starts elsewhere for it."""
    usual, apart = (
        make_model(tiny_config(**fields))[1](jax.random.key(0))
        for fields in ({}, {"model__register_std": 0.5})
    )
    registers = usual["backbone"].pop("registers"), apart["backbone"].pop("registers")
    np.testing.assert_allclose(registers[1], registers[0] * 25, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, usual, apart)


def test_gelu_and_its_gradient_equal_torch():
    x = np.linspace(-6, 6, 1001, dtype=np.float32)
    theirs = torch.tensor(x, requires_grad=True)
    torch.nn.functional.gelu(theirs).sum().backward()
    np.testing.assert_allclose(
        gelu(jnp.asarray(x)), torch.nn.functional.gelu(theirs).detach(), atol=1e-6
    )
    np.testing.assert_allclose(
        jax.grad(lambda x: gelu(x).sum())(jnp.asarray(x)), theirs.grad, atol=1e-6
    )


def test_gelu_in_bf16_is_rounded_once():
    x = jnp.linspace(-6, 6, 1001).astype(jnp.bfloat16)
    exact = gelu(x.astype(jnp.float32))
    assert gelu(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(gelu(x), exact.astype(jnp.bfloat16))


def test_a_parallel_path_whose_output_projection_is_zero_changes_no_feature():
    """parallel="separate" with start "zero": exactly the pretrained network."""
    size = {"width": 24, "depth": 2, "heads": 3, "registers_per_head": 2, "patch": 8}
    plain = RATS(**size, image_size=32, rngs=nnx.Rngs(0))
    separate = RATS(**size, image_size=32, parallel="separate", rngs=nnx.Rngs(1))
    params, wide = (nnx.to_pure_dict(nnx.state(model)) for model in (plain, separate))
    added = wide["blocks"]["patch_attn"]
    zeros = jax.tree.map(jnp.zeros_like, added["out"])
    params["blocks"] = params["blocks"] | {"patch_attn": added | {"out": zeros}}
    graph = nnx.split(separate)[0]
    images = jax.random.normal(jax.random.key(2), (2, 32, 32, 3))
    expected, found = plain(images), nnx.merge(graph, params)(images)
    np.testing.assert_array_equal(found.registers, expected.registers)
    np.testing.assert_array_equal(found.patches, expected.patches)
