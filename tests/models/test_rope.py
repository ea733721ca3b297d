"""Rotary positions, by what they are for. Equality with DINOv3: weights/test_import_parity.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rats_jax.models import ViT
from rats_jax.models.rope import axial_rotation, rotate

PERIODS = (1.0, 3.0)  # heads of 8


def turned(grid, *, before=0, after=0, dtype=jnp.float32):
    """One query and one key, each the same at every token: rotated, [T, 8]."""
    rotation = axial_rotation(grid, PERIODS, before=before, after=after)
    tokens = before + grid[0] * grid[1] + after
    rows = np.random.default_rng(0).standard_normal((2, 1, 1, 8)).astype(np.float32)
    x = jnp.broadcast_to(rows, (2, tokens, 1, 8)).astype(dtype)
    return rows.reshape(2, 8), rotate(x, rotation)[:, :, 0]


def test_products_depend_on_the_distance_alone():
    """In rows and in columns, each in units of the image."""
    _, (query, key) = turned((4, 6))
    products = np.asarray(query @ key.T).reshape(4, 6, 4, 6)
    for rows in range(3):
        for columns in range(5):
            near, far = products[0, 0, rows, columns], products[1, 1, rows + 1, columns + 1]
            np.testing.assert_allclose(near, far, atol=1e-5)
    assert abs(products[0, 0, 0, 1] - products[0, 0, 1, 0]) > 0.01
    _, (finer_query, finer_key) = turned((8, 12))
    finer = np.asarray(finer_query @ finer_key.T).reshape(8, 12, 8, 12)
    np.testing.assert_allclose(finer[0, 0, 2, 4], products[0, 0, 1, 2], atol=1e-5)


def test_tokens_beside_the_patches_do_not_turn():
    rows, x = turned((2, 3), before=1, after=2)
    still = np.asarray(x)[:, [0, 7, 8]]
    np.testing.assert_array_equal(still, np.broadcast_to(rows[:, None], still.shape))
    assert (np.abs(np.asarray(x)[:, 1:7] - rows[:, None]).max(-1) > 0.01).all()


def test_bfloat16_is_rounded_once():
    _, x = turned((5, 5))
    _, rounded = turned((5, 5), dtype=jnp.bfloat16)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded.astype(jnp.float32), x, atol=0.03)


def vit(**options):
    return ViT(width=16, depth=2, heads=2, patch=4, image_size=8, rngs=nnx.Rngs(0), **options)


def test_a_vit_with_rope_has_no_table_and_takes_any_size():
    model = vit(positions="rope", rope_periods=PERIODS, plain_registers=3, layer_scale=True)
    assert "pos_embed" not in nnx.to_pure_dict(nnx.state(model))
    images = jax.random.normal(jax.random.key(0), (2, 12, 20, 3))
    plain = model(images)
    watched = model(images, attention_of=[0, 1])
    np.testing.assert_allclose(plain.patches, watched.patches, atol=1e-5)
    assert watched.attention[1].shape == (2, 2, 4, 15)


@pytest.mark.parametrize(
    "options",
    [
        {"positions": "sinusoidal"},
        {"positions": "rope"},
        {"positions": "rope", "rope_periods": (1.0, 2.0, 3.0)},
        {"rope_periods": PERIODS},
    ],
)
def test_positions_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match="positions"):
        vit(**options)
