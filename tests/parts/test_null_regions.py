"""Null baselines: k-means against scikit-learn, the grid's cells, SLIC's numbers."""

import numpy as np
import pytest
from scipy.ndimage import find_objects, label
from skimage.segmentation import slic
from sklearn.cluster import k_means, kmeans_plusplus

from rats_jax.errors import UserError
from rats_jax.parts.null_regions import grid_regions, kmeans_regions, merge_alike, slic_regions
from rats_jax.parts.region_metrics import score
from rats_jax.parts.regions import resize_labels

GRID = (6, 9)


def test_kmeans_finds_planted_clusters_whatever_their_scale():
    rng = np.random.default_rng(8)
    parts = resize_labels(np.arange(8).reshape(2, 4), (16, 16))
    features = np.eye(24)[parts.ravel()] + 0.03 * rng.normal(size=(3, 256, 24))
    features = features * rng.uniform(0.1, 10, (3, 256, 1))
    regions = kmeans_regions(features, grid=(16, 16), k=8, size=(32, 32), seed=1)
    assert regions.dtype == np.int32 and regions.shape == (3, 32, 32)
    truth = resize_labels(parts, (32, 32))
    assert all(score(np.asarray(image), truth)[:3] == (1, 1, 1) for image in regions)


def test_kmeans_depends_on_the_seed_and_not_on_the_batch():
    features = np.random.default_rng(9).normal(size=(3, 54, 8))
    first = kmeans_regions(features, grid=GRID, k=7, seed=3)
    np.testing.assert_array_equal(first, kmeans_regions(features, grid=GRID, k=7, seed=3))
    np.testing.assert_array_equal(first[2:], kmeans_regions(features[2:], grid=GRID, k=7, seed=3))
    assert (first != kmeans_regions(features, grid=GRID, k=7, seed=4)).any()


def test_kmeans_labels_are_nearest_centres():
    """A converged map: every patch lies nearest to the mean of its own cluster."""
    features = np.random.default_rng(10).normal(size=(1, 54, 3)).astype(np.float32)
    labels = np.asarray(kmeans_regions(features, grid=GRID, k=4))[0].ravel()
    unit = features[0] / np.linalg.norm(features[0], axis=-1, keepdims=True)
    centres = np.stack([unit[labels == k].mean(0) for k in range(4)])
    distance = ((unit[:, None] - centres) ** 2).sum(-1)
    np.testing.assert_array_equal(distance.argmin(1), labels)


@pytest.mark.filterwarnings("error")
def test_kmeans_with_fewer_distinct_features_than_clusters():
    """Also where they differ by the rounding of their lengths."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4, 3, 64))[:, np.arange(54) % 3]
    features = directions * rng.uniform(0.01, 100, (4, 54, 1))
    for regions in np.asarray(kmeans_regions(features, grid=GRID, k=10)):
        assert score(regions, (np.arange(54) % 3).reshape(GRID))[:3] == (1, 1, 1)
    assert not kmeans_regions(np.zeros((1, 54, 5)), grid=GRID, k=10).any()


@pytest.mark.filterwarnings("error")
def test_kmeans_of_every_patch_alone():
    features = np.random.default_rng(11).normal(size=(1, 54, 8))
    assert len(np.unique(kmeans_regions(features, grid=GRID, k=54))) == 54
    with pytest.raises(UserError, match="k=55 clusters of 54 patches"):
        kmeans_regions(features, grid=GRID, k=55)


def test_kmeans_errs_no_more_than_scikit_learn_from_seeds_as_good():
    rng = np.random.default_rng(14)
    features = rng.normal(size=(8, 54, 6)) + 2 * rng.normal(size=(8, 1, 6))
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    labels = np.asarray(kmeans_regions(features, grid=GRID, k=9)).reshape(8, -1)
    errors, expected = [], []
    for points, of_points in zip(unit, labels, strict=True):
        centres = np.stack([points[of_points == k].mean(0) for k in range(9)])
        errors.append(((points - centres[of_points]) ** 2).sum())
        for seed in range(5):
            seeds, _ = kmeans_plusplus(points, 9, random_state=seed)
            expected.append(k_means(points, 9, init=seeds, max_iter=20)[2])
    assert np.mean(errors) < 1.03 * np.mean(expected)


@pytest.mark.parametrize("size", [(512, 512), (224, 224), (375, 500), (64, 64)])
def test_grid_has_exactly_k_balanced_rectangles(size):
    for k in range(1, 201):
        regions = grid_regions(size=size, k=k)
        assert regions.shape == size and regions.dtype == np.int32
        areas = np.bincount(regions.ravel())
        assert len(areas) == k and areas.min() > 0
        for area, (rows, columns) in zip(areas, find_objects(regions + 1), strict=True):
            assert (rows.stop - rows.start) * (columns.stop - columns.start) == area  # no dents
        side = (size[0] * size[1] / k) ** 0.5
        # each edge is rounded to a pixel, so a side is off by less than one
        assert np.abs(areas / areas.mean() - 1).max() < 2.5 / side + 1 / side**2


def test_grid_of_square_numbers_is_square():
    for rows in (1, 2, 4, 7, 14):
        expected = resize_labels(np.arange(rows**2).reshape(rows, rows), (224, 224))
        np.testing.assert_array_equal(grid_regions(size=(224, 224), k=rows**2), expected)


def test_grid_cells_are_as_square_as_their_number_allows():
    for k in range(2, 201):
        boxes = find_objects(grid_regions(size=(420, 420), k=k) + 1)
        shapes = [[side.stop - side.start for side in box] for box in boxes]
        aspect = [abs(np.log(height / width)) for height, width in shapes]
        assert np.mean(aspect) <= np.log(2)  # K = 2 is the worst: two halves


def test_grid_of_seven():
    rows = grid_regions(size=(70, 70), k=7)[:, 0]
    assert list(np.unique(rows, return_counts=True)[0]) == [0, 2, 4]
    assert list(np.unique(rows, return_counts=True)[1]) == [20, 20, 30]


def test_grid_of_tiny_images():
    for height in range(1, 7):
        for width in range(1, 7):
            for k in range(1, height * width + 1):
                assert len(np.unique(grid_regions(size=(height, width), k=k))) == k
            with pytest.raises(UserError, match="do not hold"):
                grid_regions(size=(height, width), k=height * width + 1)


def picture(height, width, seed=15):
    """Rectangles of colour, with noise."""
    rng = np.random.default_rng(seed)
    colours = resize_labels(rng.integers(0, 256, (3, 9, 12)), (height, width))
    noisy = np.moveaxis(colours, 0, -1) + rng.normal(0, 8, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("k", [1, 2, 6, 12, 33, 96])
def test_slic_has_exactly_k_connected_regions(k):
    """Also where there is one colour, or noise alone."""
    noise = np.random.default_rng(3).integers(0, 256, (128, 90, 3), np.uint8)
    for image in (picture(96, 128), picture(128, 70, 1), np.full_like(noise, 90), noise):
        labels = slic_regions(image, k=k)
        assert labels.shape == image.shape[:2] and labels.dtype == np.int32
        np.testing.assert_array_equal(np.unique(labels), np.arange(k))
        assert all(label(labels == region)[1] == 1 for region in range(k))


def test_slic_regions_are_unions_of_scikit_images():
    image = picture(60, 80)
    labels = slic_regions(image, k=30)
    segments = slic(image, n_segments=60, compactness=20, start_label=0)
    assert segments.max() >= 30
    assert all(len(np.unique(labels[segments == s])) == 1 for s in range(segments.max() + 1))


@pytest.mark.parametrize("k", [2, 3])
def test_slic_finds_a_few_regions_of_unlike_colours_and_sizes(k):
    truth = np.zeros((128, 96), int)
    truth[40:75, 20:60] = 1
    truth[100:, 70:] = 2 * (k == 3)
    image = np.array([(200, 40, 90), (30, 160, 60), (40, 60, 220)], np.uint8)[truth]
    assert score(slic_regions(image, k=k), truth).m2o > 0.9


def test_merging_is_greedy_by_the_squared_error_of_touching_segments():
    """Against a literal loop over pixels."""
    rng = np.random.default_rng(16)
    segments = resize_labels(np.arange(12).reshape(3, 4), (9, 20))
    colours = rng.normal(size=(9, 20, 3)) + rng.normal(size=(12, 3))[segments]

    def error(mask):
        return ((colours[mask] - colours[mask].mean(0)) ** 2).sum()

    expected = segments.copy()
    for k in range(11, 0, -1):
        growth = {}
        for y, x in np.ndindex(9, 20):
            for other in expected[y, x + 1 : x + 2], expected[y + 1 : y + 2, x]:
                for pair in {(expected[y, x], int(o)) for o in other if o != expected[y, x]}:
                    one, two = (expected == p for p in pair)
                    growth[pair] = error(one | two) - error(one) - error(two)
        i, j = min(growth, key=growth.get)
        expected[expected == j] = i
        assert score(merge_alike(segments, colours, k=k), expected)[:3] == (1, 1, 1), k


def test_slic_follows_what_is_seen_and_keeps_the_aspect():
    image = np.zeros((300, 500, 3), np.uint8)
    image[:, 120:] = (200, 40, 90)
    labels = slic_regions(image, k=12)
    assert labels.shape == (77, 128)
    halves = resize_labels(labels, (300, 500))
    assert not set(np.unique(halves[:, :115])) & set(np.unique(halves[:, 125:]))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (3, 500), (2000, 3)])
def test_slic_of_tiny_and_thin_images(size):
    for image in (np.zeros((*size, 3), np.uint8), picture(*size)):
        for k in (1, 6, 96):
            assert 1 <= len(np.unique(slic_regions(image, k=k))) <= k
