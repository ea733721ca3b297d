"""Registers of one head meet those of no other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rats_jax.models import RATS, Features
from rats_jax.models.register_attention import RegisterAttention

B, H, n, L, D = 1, 3, 2, 10, 12


def run(model: RATS, images: jax.Array, **options) -> Features:
    graph, state = nnx.split(model)
    return jax.jit(lambda state, images: nnx.merge(graph, state)(images, **options))(state, images)


def register_jacobian(**variant) -> np.ndarray:
    """Norms [H, H]: of the derivative of head h's registers after attention (the output projection
    left out, as it spreads each head over all features) for head g's registers before it."""
    attention = RegisterAttention(width=D, heads=H, rngs=nnx.Rngs(0), **variant)
    # At initialisation, scale .02, everything nearly vanishes: bring it to order one.
    for param in jax.tree.leaves(nnx.state(attention), is_leaf=lambda x: isinstance(x, nnx.Param)):
        param[...] = 50 * param[...]
    keys = jax.random.split(jax.random.key(1))
    registers = jax.random.normal(keys[0], (B, H, n, D))
    patches = jax.random.normal(keys[1], (B, L, D))

    def compressed(registers):
        to_registers, to_patches, _ = attention(registers, patches)
        return to_registers[0]

    jacobian = jax.jit(jax.jacobian(compressed))(registers)[:, :, :, 0]  # [H, n, D, H, n, D]
    return np.sqrt(np.sum(np.square(jacobian), axis=(1, 2, 4, 5)))


@pytest.mark.parametrize("communicate", ["parameter_free", "learned"])
def test_partitioned_registers_never_meet_across_heads(communicate):
    norms = register_jacobian(communicate=communicate)
    across = ~np.eye(H, dtype=bool)
    assert (norms[across] == 0).all()
    assert (norms[~across] > 1e-3).all()


def test_shared_registers_meet():
    norms = register_jacobian(sharing="shared")
    assert (norms > 1e-3).all()


def test_compress_attention_is_a_distribution_over_patches_at_every_layer_asked_for():
    model = RATS(width=D, depth=3, heads=H, registers_per_head=n, image_size=32, rngs=nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(0), (2, 32, 48, 3))
    features = run(model, images, attention_of=[0, -1])
    assert sorted(features.attention) == [0, 2]
    for attention in features.attention.values():
        assert attention.shape == (2, H, n, 6)
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


def test_looking_at_attention_changes_no_feature():
    model = RATS(width=D, depth=3, heads=H, registers_per_head=n, image_size=32, rngs=nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
    plain, watched = run(model, images), run(model, images, attention_of=[1])
    for a, b in zip(plain[:3], watched[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_bf16_features_stay_near_float32_ones():
    options = dict(width=48, depth=3, heads=3, registers_per_head=4, image_size=64)
    images = jax.random.normal(jax.random.key(0), (2, 64, 64, 3))
    exact = run(RATS(**options, rngs=nnx.Rngs(0)), images)
    rounded = run(RATS(**options, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)), images)
    assert rounded.patches.dtype == jnp.bfloat16
    error = jnp.linalg.norm(rounded.patches - exact.patches) / jnp.linalg.norm(exact.patches)
    assert 1e-5 < error < 0.05


@pytest.mark.parametrize("shape", [(2, 40, 32, 3), (2, 32, 40, 3), (2, 32, 32, 1)])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(shape):
    model = nnx.eval_shape(lambda: RATS(width=D, depth=1, heads=H, image_size=32, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="multiples of the patch"):
        run(model, jnp.zeros(shape))


@pytest.mark.parametrize(
    "wrong", [{"communicate": "loudly"}, {"sharing": "some"}, {"parallel": "perhaps"}]
)
def test_an_unknown_variant_is_refused(wrong):
    with pytest.raises(ValueError, match="not"):
        RATS(width=D, depth=1, heads=H, image_size=32, rngs=nnx.Rngs(0), **wrong)
