"""Masks as targets of patches, and scores of patches as labels of pixels."""

import numpy as np
import torch

from rats_jax.parts.datasets import VOID
from rats_jax.parts.probes.patch_labels import class_counts, pixel_labels, places_of, points_of


def test_counts_are_those_of_the_points_in_each_patch():
    rng = np.random.default_rng(0)
    mask = rng.choice([4, 9, 30, VOID, 5], (24, 32))
    classes, grid = np.array([4, 9, 30]), (3, 4)
    points = points_of(mask, grid=grid, patch=16)
    assert points.shape == (24, 32)  # 8 points per side, as many as there are pixels
    np.testing.assert_array_equal(points, mask)
    counts = class_counts(places_of(points, classes)[None], grid=grid, classes=3)[0]
    for i in range(3):
        for j in range(4):
            patch = mask[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            assert counts[4 * i + j].tolist() == [(patch == id_).sum() for id_ in classes]


def test_a_small_patch_has_a_point_for_each_of_its_pixels():
    mask = np.kron(np.arange(6).reshape(2, 3), np.ones((10, 7), int))
    points = points_of(mask, grid=(2, 3), patch=4)
    np.testing.assert_array_equal(points, np.kron(np.arange(6).reshape(2, 3), np.ones((4, 4))))


def test_pixels_have_the_class_of_pytorchs_bilinear_interpolation():
    scores = np.random.default_rng(1).normal(size=(5, 7, 6)).astype(np.float32)
    for size in ((150, 91), (5, 7), (3, 20)):
        planes = torch.from_numpy(scores).permute(2, 0, 1)[None]
        large = torch.nn.functional.interpolate(planes, size=size, mode="bilinear")[0]
        labels, expected = pixel_labels(scores, size), large.argmax(0).numpy()
        best = large.sort(0).values
        clear = (best[-1] - best[-2]).numpy() > 1e-5
        assert labels.shape == size and clear.mean() > 0.99
        np.testing.assert_array_equal(labels[clear], expected[clear])
