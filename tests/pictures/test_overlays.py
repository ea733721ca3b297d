"""Overlays: what is painted where, which colours agree, and how a sheet is laid out."""

import numpy as np
import pytest
from PIL import Image

from rats_jax.pictures.overlays import (
    MUTED,
    PALETTE,
    label_colours,
    matched_colours,
    paint,
    part_sheet,
    save_png,
)

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(colours, sight):
    c = colours / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(sight), 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def nearest(colours, sight):
    points = lab(colours, sight)
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    return (distance + 1e9 * np.eye(len(points))).min()


@pytest.mark.parametrize("sight", SIGHT)
def test_palette_is_distinct_to_every_eye(sight):
    assert len(PALETTE) >= 40 and PALETTE.dtype == np.uint8
    assert nearest(PALETTE, SIGHT[sight]) > 9  # 2.3 is just noticeable
    assert nearest(PALETTE[:7], SIGHT[sight]) > 15


def test_muted_colours_are_distinct_and_duller():
    assert len(np.unique(MUTED, axis=0)) == len(PALETTE)
    assert (np.ptp(MUTED.astype(int), axis=1) < np.ptp(PALETTE.astype(int), axis=1)).all()
    both = {tuple(c) for c in PALETTE} & {tuple(c) for c in MUTED}
    assert not both


def test_a_label_keeps_its_colour_and_collisions_move_on():
    colours = label_colours(np.array([[2, 5, 5 + len(PALETTE)]]))
    assert (colours[2] == PALETTE[2]).all() and (colours[5] == PALETTE[5]).all()
    assert (colours[5 + len(PALETTE)] == PALETTE[6]).all()
    panoptic = np.random.default_rng(0).choice(16_000_000, len(PALETTE), replace=False)
    assert len({tuple(c) for c in label_colours(panoptic).values()}) == len(PALETTE)
    assert len(label_colours(np.arange(192))) == 192  # more than the palette: repeats


def test_matched_regions_take_the_truth_colour_and_others_are_muted():
    truth = np.repeat([0, 1, 2, 255], 8).reshape(4, 8)
    prediction = np.repeat([9, 4, 7, 3], 8).reshape(4, 8)
    prediction[0, 6:] = 5  # a splinter of truth 0
    colours = matched_colours(prediction, truth, void=255)
    for predicted, part in ((9, 0), (4, 1), (7, 2)):
        np.testing.assert_array_equal(colours[predicted], label_colours(truth)[part])
    muted = {tuple(c) for c in MUTED}
    assert tuple(colours[5]) in muted and tuple(colours[3]) in muted


def test_matching_in_an_image_that_is_all_void():
    colours = matched_colours(np.array([[0, 1]]), np.array([[255, 255]]), void=255)
    assert {tuple(c) for c in colours.values()} <= {tuple(c) for c in MUTED}


def test_paint_mixes_grey_and_colour_and_draws_thin_lines():
    labels = np.array([[0, 0, 0, 1, 1, 1]] * 4)
    image = np.full((4, 6, 3), [30, 60, 90], np.uint8)
    picture = paint(labels, image, alpha=0.5)
    assert picture.dtype == np.uint8
    white = (picture == 255).all(-1)
    np.testing.assert_array_equal(white, np.tile([0, 0, 1, 0, 0, 0], (4, 1)))
    np.testing.assert_allclose(picture[:, 0], np.tile((60.0 + PALETTE[0]) / 2, (4, 1)), atol=0.5)
    np.testing.assert_allclose(picture[:, 5], np.tile((60.0 + PALETTE[1]) / 2, (4, 1)), atol=0.5)


def test_paint_takes_given_colours_and_leaves_void_untinted():
    labels = np.zeros((3, 8), int)
    labels[:, 4:] = 255
    image = np.full((3, 8, 3), 100, np.uint8)
    picture = paint(labels, image, alpha=1.0, colours={0: (1, 2, 3), 255: (9, 9, 9)}, void=255)
    assert (picture[:, 0] == [1, 2, 3]).all() and (picture[:, 6] == 50).all()


def test_paint_wants_labels_of_the_image_size_and_uint8():
    for image in (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8)):
        with pytest.raises(ValueError, match="need uint8"):
            paint(np.zeros((4, 4), int), image)


NOTE = 18  # pixels for the line below a map that is compared with a truth


def sheet_pieces(sizes=((32, 32), (20, 40))):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    return images, [np.arange(h)[:, None] * 3 // h + np.zeros(w, int) for h, w in sizes]


def test_sheet_shows_image_then_columns_enlarged_by_whole_factors():
    images, maps = sheet_pieces()
    sheet = np.asarray(part_sheet(images, {"truth": maps, "model": maps}, truth="truth", side=64))
    first = images[0].repeat(2, 0).repeat(2, 1)
    places = [
        (y, x)
        for y in range(sheet.shape[0] - 63)
        for x in range(sheet.shape[1] - 63)
        if (sheet[y, x : x + 64] == first[0]).all()
        and (sheet[y : y + 64, x : x + 64] == first).all()
    ]
    assert len(places) == 1
    y, x = places[0]
    # the 20 x 40 image doubles to 40 x 80, which sets the width of every column
    gap = x - (80 - 64) // 2
    assert sheet.shape[1] == gap + 3 * (80 + gap)
    assert sheet.shape[0] == y + 64 + NOTE + gap + 40 + NOTE + gap
    expected = paint(maps[0].repeat(2, 0).repeat(2, 1), first)
    for column in (1, 2):  # an equal map takes the truth's colours
        left = x + column * (80 + gap)
        np.testing.assert_array_equal(sheet[y : y + 64, left : left + 64], expected)
    titles = sheet[:y]
    for column in range(3):  # each title has ink above its own column
        left = gap + column * (80 + gap)
        assert titles[:, left : left + 80].min() < 100


def test_what_is_compared_with_a_truth_has_its_score_below():
    """Colours alone would praise any map: each finds partners in the truth."""
    images, maps = sheet_pieces([(48, 48)])
    grid = [np.indices((48, 48)).sum(0) // 32]
    sheet = np.asarray(part_sheet(images, {"truth": maps, "a": maps, "b": grid}, truth="truth"))
    # a column each: the image, the truth, the same regions, others
    strips = np.split(sheet[-NOTE - 8 :, 8:], 4, axis=1)
    dark = [(strip < 128).sum() for strip in strips]
    assert dark[0] == dark[1] == 0 < dark[3] < dark[2]  # "O2O 100 %" has more ink than others
    unscored = part_sheet(images, {"a": maps, "b": grid})
    assert unscored.size[1] == sheet.shape[0] - NOTE


def test_large_images_keep_their_size():
    images, maps = sheet_pieces([(100, 90)])
    small = part_sheet(images, {"a": maps}, side=64).size
    assert small == part_sheet(images, {"a": maps}, side=100).size


def test_long_titles_stay_inside_their_column():
    images, maps = sheet_pieces([(48, 48)])
    title = "RATS-B/16 register regions top-192 averylongunbrokenwordindeedwithoutanyspace"
    sheet = np.asarray(part_sheet(images, {title: maps, "b": maps}, side=96))
    ink = (sheet[:-110] < 128).any(-1)
    assert ink.any()
    gap = sheet.shape[1] - 3 * 96
    assert gap % 4 == 0
    gap //= 4
    for column in range(4):
        left = column * (96 + gap)
        assert not ink[:, left : left + gap].any()


def test_sheet_colours_follow_the_truth_column():
    images, maps = sheet_pieces([(30, 30)])
    renamed = [(maps[0] + 1) % 3 + 10]
    aligned = part_sheet(images, {"truth": maps, "b": renamed}, truth="truth", side=30)
    same = part_sheet(images, {"truth": maps, "b": maps}, truth="truth", side=30)
    free = part_sheet(images, {"truth": maps, "b": renamed}, side=30)
    assert (np.asarray(aligned) == np.asarray(same)).all()
    above = slice(0, free.height - 8)  # without the line below
    assert (np.asarray(aligned)[above] != np.asarray(free)[above]).any()


def test_sheet_refuses_what_does_not_fit():
    images, maps = sheet_pieces()
    with pytest.raises(ValueError, match="1 label maps for 2 images"):
        part_sheet(images, {"a": maps[:1]})
    with pytest.raises(ValueError, match="'truth' is not among"):
        part_sheet(images, {"a": maps}, truth="truth")
    with pytest.raises(ValueError, match="at least one image"):
        part_sheet([], {})


def test_png_round_trip_makes_the_folder(tmp_path):
    images, maps = sheet_pieces()
    sheet = part_sheet(images, {"a": maps}, side=32)
    path = save_png(sheet, tmp_path / "new" / "epoch_1.5.png")
    with Image.open(path) as read:
        assert read.format == "PNG" and (np.asarray(read) == np.asarray(sheet)).all()
    array = save_png(images[0], tmp_path / "image.png")
    assert (np.asarray(Image.open(array)) == images[0]).all()
