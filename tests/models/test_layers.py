"""What a layer puts out is what a model that ends with it does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rats_jax.models import make_backbone

SMALL = {"width": 12, "depth": 4, "heads": 3, "patch": 8, "image_size": 32}
MODELS = {
    "rats": {"architecture": "rats", "registers_per_head": 2},
    "vit": {"architecture": "vit", "plain_registers": 2},
}
IMAGES = np.random.default_rng(0).standard_normal((2, 24, 40, 3), np.float32)


def make(options: dict):
    """With weights of order one."""
    graph, state = nnx.split(make_backbone(SMALL | options, rngs=nnx.Rngs(0)))
    return graph, jax.tree.map(lambda x: 20 * x if x.ndim > 2 else x + 0.1, state)


def run(graph, state, **options):
    return jax.jit(lambda state, x: nnx.merge(graph, state)(x, **options))(state, IMAGES)


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_normed_is_the_output_of_the_model_cut_off_there(name):
    graph, state = make(MODELS[name])
    found = run(graph, state, layers_of=[1, -1])
    assert sorted(found.layers) == [1, 3]
    shallow, like = nnx.split(make_backbone(SMALL | MODELS[name] | {"depth": 2}, rngs=nnx.Rngs(0)))
    cut = jax.tree.map(lambda x, y: x[: len(y)] if x.shape != y.shape else x, state, like)
    for expected, layer in ((run(shallow, cut), found.layers[1]), (found, found.layers[3])):
        for ours, theirs in zip(layer.normed, expected[:3], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(found.layers[1].normed.patches - found.patches).max() > 0.1


@pytest.mark.parametrize("name", [*MODELS, "perceiver"])
def test_raw_tokens_become_the_normed_ones_by_the_final_norm(name):
    options = MODELS.get(name, {"architecture": "perceiver", "latents": 5, "queries": 6})
    graph, state = make(options)
    norm = nnx.merge(graph, state).norm
    found = run(graph, state, layers_of=range(4))
    assert sorted(found.layers) == [0, 1, 2, 3]
    for raw, normed in found.layers.values():
        np.testing.assert_allclose(norm(raw.registers), normed.registers, atol=1e-5)
        np.testing.assert_allclose(norm(raw.patches), normed.patches, atol=1e-5)
        if name != "vit":
            np.testing.assert_allclose(raw.registers.mean(1), raw.global_vector, atol=1e-5)
            np.testing.assert_allclose(normed.registers.mean(1), normed.global_vector, atol=1e-5)
        else:
            np.testing.assert_allclose(norm(raw.global_vector), normed.global_vector, atol=1e-5)
    np.testing.assert_allclose(found.layers[3].normed.registers, found.registers, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_last_layers_are_scanned_and_equal_those_of_an_unrolled_stack(name):
    graph, state = make(MODELS[name])
    scanned, unrolled = (run(graph, state, layers_of=i) for i in ([2, 3], [0, 2, 3]))
    assert sorted(scanned.layers) == [2, 3]
    for i in (2, 3):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5),
            scanned.layers[i],
            unrolled.layers[i],
        )
    program = jax.make_jaxpr(lambda s, x: nnx.merge(graph, s)(x, layers_of=[2, 3]))(state, IMAGES)
    assert str(program).count("scan[") == 2


def test_an_unknown_layer_is_an_error():
    for name in MODELS:
        with pytest.raises(ValueError, match="no layer 4 in a model of 4 layers"):
            nnx.eval_shape(
                lambda name=name: make_backbone(SMALL | MODELS[name], rngs=nnx.Rngs(0))(
                    jnp.asarray(IMAGES), layers_of=[4]
                )
            )
