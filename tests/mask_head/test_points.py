"""Interpolation and the choice of points, beside torch's."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from rats_jax.mask_head import targets as targets_module
from rats_jax.mask_head.points import kth_smallest, most_uncertain, sample
from rats_jax.mask_head.targets import Targets, at_points
from rats_jax.parts.datasets import VOID


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def grid_sample(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """values [B, h, w, C] at points [B, P, 2]: [B, P, C]."""
    found = torch.nn.functional.grid_sample(
        torch.tensor(values).permute(0, 3, 1, 2),
        torch.tensor(2 * points - 1)[:, :, None],
        align_corners=False,
    )
    return found[..., 0].permute(0, 2, 1).numpy()


def test_values_are_those_of_grid_sample():
    values, points = draw(3, 5, 9, 4), draw(3, 200, 2, seed=1)
    points[:, :4] = [[0, 0], [1, 1], [0.5, 0.5], [1 / 18, 0.999]]
    np.testing.assert_allclose(sample(values, points), grid_sample(values, points), atol=2e-6)


def test_targets_at_points_are_those_of_whole_masks():
    """Packed masks of any side, and label maps, read as if each were an array [S, S]."""
    side, points = 13, draw(2, 300, 2, seed=2)
    image = np.zeros((2, side, side, 3), np.uint8)
    size = np.full((2, 2), side, np.int32)
    masks = draw(2, 4, side, side) < 0.4
    present = np.array([[True, True, True, False], [True, True, False, False]])
    packed = {"image": image, "size": size, "masks": np.packbits(masks, axis=-1)}
    expected = masks & present[..., None, None]
    found = at_points(packed, Targets(np.zeros((2, 4), np.int32), present), points)
    whole = np.moveaxis(expected, 1, -1).astype(np.float32)
    np.testing.assert_allclose(found.values, grid_sample(whole, points), atol=2e-6)
    assert found.valid.all()

    labels = np.random.default_rng(3).integers(0, 5, (2, side, side)).astype(np.int16)
    classes = np.array([[4, 0, 1, 2], [3, 2, 0, 0]], np.int32)
    found = at_points(
        {"image": image, "size": size, "labels": labels}, Targets(classes, present), points
    )
    own = (labels[:, None] == classes[..., None, None]) & present[..., None, None]
    whole = np.moveaxis(own, 1, -1).astype(np.float32)
    np.testing.assert_allclose(found.values, grid_sample(whole, points), atol=2e-6)


def test_void_and_padding_are_not_interpolated():
    """Beside pixels that do not count, a mask keeps its value; points in such pixels do not
    count, and points are drawn in the part that is image."""
    assert targets_module.VOID == VOID
    labels = np.full((1, 8, 8), VOID, np.int16)
    labels[:, :4, :6] = 2
    labels[:, 1, 1] = VOID
    batch = {
        "image": np.zeros((1, 8, 8, 3), np.uint8),
        "size": np.array([[4, 6]], np.int32),
        "labels": labels,
    }
    targets = Targets(np.array([[2]], np.int32), np.array([[True]]))
    drawn = draw(1, 500, 2)
    found = at_points(batch, targets, drawn)
    np.testing.assert_allclose(found.points, drawn * [6 / 8, 4 / 8], rtol=1e-6)
    x, y = np.floor(np.asarray(found.points) * 8).astype(int).transpose(2, 0, 1)
    np.testing.assert_array_equal(found.valid, ~((x == 1) & (y == 1)))
    values = np.asarray(found.values)[np.asarray(found.valid)]
    inside = (np.asarray(found.points) * 8 > 0.5).all(-1)[np.asarray(found.valid)]
    np.testing.assert_allclose(values[inside], 1, atol=1e-6)


@pytest.mark.parametrize("count", [1, 37, 100])
def test_the_most_uncertain_points_are_those_of_topk(count):
    logits = np.random.default_rng(0).normal(size=(2, 100, 3)).astype(np.float32)
    chosen = most_uncertain(logits, np.ones((2, 100), bool), count)
    order = torch.topk(-torch.tensor(logits).abs(), count, dim=1)[1].numpy()
    expected = np.zeros_like(logits)
    np.put_along_axis(expected, order, 1, axis=1)
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_array_equal(
        kth_smallest(jnp.abs(logits), count)[:, 0], np.sort(np.abs(logits), axis=1)[:, count - 1]
    )


def test_equal_points_share_the_places_and_void_ones_have_none():
    logits = np.array([0, 1, 1, 1, 2, -0.5], np.float32).reshape(1, 6, 1)
    valid = np.array([[False, True, True, True, True, True]])
    chosen = most_uncertain(logits, valid, 3)[0, :, 0]
    np.testing.assert_allclose(chosen, [0, 2 / 3, 2 / 3, 2 / 3, 0, 1], rtol=1e-6)
    few = most_uncertain(logits, valid, 6)[0, :, 0]  # fewer points count than are to be chosen
    np.testing.assert_allclose(few, [0, 1, 1, 1, 1, 1])
