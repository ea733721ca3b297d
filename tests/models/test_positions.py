"""Interpolation of position embeddings against PyTorch's bicubic."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rats_jax.models.positions import bicubic_matrix, interpolate_positions

GRIDS = [(6, 6), (14, 14), (30, 30), (7, 20), (1, 3), (37, 5)]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_equals_torch(grid, offset):
    native, width = (14, 14), 5
    table = np.random.default_rng(0).normal(size=(14 * 14, width)).astype(np.float32)
    image = torch.from_numpy(table).reshape(1, *native, width).permute(0, 3, 1, 2)
    if grid == native:
        expected = image  # the official code returns the table as it is
    elif offset:
        scale = tuple((target + offset) / 14 for target in grid)
        expected = F.interpolate(image, scale_factor=scale, mode="bicubic")
    else:
        expected = F.interpolate(image, size=grid, mode="bicubic", align_corners=False)
    expected = expected.permute(0, 2, 3, 1).reshape(-1, width).numpy()
    ours = interpolate_positions(jnp.asarray(table), native=native, grid=grid, offset=offset)
    # torch computes the sampling points in float32: a few 1e-6 of values of order 1.
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_antialiased_equals_torch(grid, offset):
    native, width = (14, 14), 5
    table = np.random.default_rng(0).normal(size=(14 * 14, width)).astype(np.float32)
    image = torch.from_numpy(table).reshape(1, *native, width).permute(0, 3, 1, 2)
    scale = {"scale_factor": tuple((n + offset) / 14 for n in grid)} if offset else {"size": grid}
    expected = image
    if grid != native:
        expected = F.interpolate(image, mode="bicubic", antialias=True, **scale)
    expected = expected.permute(0, 2, 3, 1).reshape(-1, width).numpy()
    ours = interpolate_positions(
        jnp.asarray(table), native=native, grid=grid, offset=offset, antialias=True
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_offset_changes_what_is_sampled():
    assert np.abs(bicubic_matrix(14, 6) - bicubic_matrix(14, 6, step=14 / 6.1)).max() > 0.01


@pytest.mark.parametrize("target", [6, 30])
def test_antialiasing_changes_what_is_sampled_larger_and_smaller(target):
    difference = bicubic_matrix(14, target) - bicubic_matrix(14, target, antialias=True)
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("antialias", [False, True])
def test_rows_keep_a_constant(antialias):
    for target in (1, 6, 13, 64):
        matrix = bicubic_matrix(14, target, antialias=antialias)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
