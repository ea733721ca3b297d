"""Polygons as pycocotools 2.0.11 fills them, encodings of one mask, and which mask is on top."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rats_jax.parts.datasets.polygon import fill_polygon
from rats_jax.parts.datasets.segmentation import decode_segmentation, smallest_on_top
from tests.parts.datasets.written import SIZE, box, compressed_rle, rle

TRIANGLE = [2.3, 1.2, 8.7, 3.4, 4.5, 7.9]
STAR = [0.0, 0.0, 12.0, 9.5, -3.0, 9.5, 12.5, 0.5, 6.0, 14.0]  # crosses itself and the border
FILLED_TRIANGLE = """
00000000000 00000000000 00011100000 00011111100 00001111000 00001110000 00001100000 00001000000
00000000000"""
FILLED_STAR = """
100000000000 010000000001 011000000111 001100001110 001111111110 001100011100 001000001100
011000000000 111100000110 111100001111"""


def picture(rows: str) -> np.ndarray:
    return np.array([[pixel == "1" for pixel in row] for row in rows.split()])


@pytest.mark.parametrize(("polygon", "filled"), [(TRIANGLE, FILLED_TRIANGLE), (STAR, FILLED_STAR)])
def test_a_polygon_is_filled_as_by_pycocotools(polygon, filled):
    expected = picture(filled)
    np.testing.assert_array_equal(fill_polygon(polygon, expected.shape), expected)


def test_random_polygons_are_filled_as_by_pycocotools():
    rng = np.random.default_rng(0)
    for i in range(400):
        height, width = rng.integers(1, 60, 2).tolist()
        corners = rng.uniform(-5, 70, (rng.integers(3, 12), 2)).clip(None, 4 * max(height, width))
        corners = corners.round() if i % 3 == 0 else corners  # edges through centers of pixels
        polygon = (corners.repeat(2, 0) if i % 7 == 0 else corners).clip(-4, None).ravel().tolist()
        theirs = coco_mask.decode(coco_mask.frPyObjects([polygon], height, width))[..., 0]
        np.testing.assert_array_equal(fill_polygon(polygon, (height, width)), theirs == 1)


def test_a_rectangle_on_pixel_borders_has_its_area():
    filled = fill_polygon([2, 3, 7, 3, 7, 8, 2, 8], (12, 10))
    np.testing.assert_array_equal(filled, box(3, 2, 8, 7, (12, 10)))


def test_all_encodings_of_a_mask_are_that_mask():
    mask = box(2, 3, 7, 9)
    polygon = [3, 2, 9, 2, 9, 7, 3, 7]
    rows = mask.tolist()
    numbers = mask.astype(int).tolist()
    for encoding in (rle(mask), compressed_rle(mask), rows, numbers, [polygon], mask):
        np.testing.assert_array_equal(decode_segmentation(encoding, SIZE), mask)


def test_polygons_of_one_mask_are_united():
    both = decode_segmentation([[0, 0, 3, 0, 3, 3, 0, 3], [2, 1, 6, 1, 6, 4, 2, 4]], SIZE)
    np.testing.assert_array_equal(both, box(0, 0, 3, 3) | box(1, 2, 4, 6))


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (rle(box(0, 0, 1, 1, (11, 9))), r"has size \[11, 9\], but the image has \[9, 11\]"),
        (box(0, 0, 1, 1, (11, 9)).tolist(), r"has size \(11, 9\)"),
        ({"size": 99, "counts": [99]}, "has size 99"),
        ([[1, 2, 3, 4]], "three or more points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three or more points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "three or more points"),
        ([[1, 2, 3, 4, 5, "x"]], "three or more points"),
        ([[1, 2, 3, 4, 5, 1e9]], "beyond 44"),
        (np.arange(99).reshape(SIZE), "not binary"),
        ({"counts": [99]}, "neither RLE"),
        ([1, 2, 3, 4, 5, 6], "neither RLE"),
        (None, "neither RLE"),
    ],
)
def test_a_broken_mask_says_why(segmentation, reason):
    with pytest.raises(ValueError, match=reason):
        decode_segmentation(segmentation, SIZE)


def test_lists_of_several_lengths_are_no_rows():
    with pytest.raises(ValueError, match="has a polygon that is not a list"):
        decode_segmentation([[[1, 2], [3]]], (4, 5))


def test_the_smallest_mask_is_on_top_and_of_equal_ones_the_later():
    small, large = box(0, 0, 2, 2), box(0, 0, 8, 8)
    twin = box(1, 1, 3, 3)
    labels = smallest_on_top([small, large, twin, box(0, 0, 0, 0)], SIZE)
    expected = np.where(twin, 3, np.where(small, 1, np.where(large, 2, 0)))
    np.testing.assert_array_equal(labels, expected)


def test_painting_is_by_descending_area():
    rng = np.random.default_rng(0)
    masks = [rng.random(SIZE) < odds for odds in rng.random(30)]
    expected = np.zeros(SIZE, int)
    for i in sorted(range(30), key=lambda i: -masks[i].sum()):  # a stable sort
        expected[masks[i]] = i + 1
    np.testing.assert_array_equal(smallest_on_top(masks, SIZE), expected)
