"""Heat maps, and sheets."""

import numpy as np

from rats_jax.pictures.sheets import HEAT, heat, over, sheet


def test_heat_goes_from_dark_to_bright():
    colours = heat(np.linspace(-1, 3, 9), low=-1, high=3)
    np.testing.assert_array_equal(colours, HEAT)
    assert (np.diff(colours.mean(1)) > 0).all()


def test_a_map_without_contrast_is_dark():
    np.testing.assert_array_equal(heat(np.ones((2, 2)), low=1, high=1), np.tile(HEAT[0], (2, 2, 1)))


def test_each_patch_colours_its_own_pixels():
    patches = np.zeros((2, 3, 3), np.uint8)
    patches[1, 2] = 200
    laid = over(patches, np.full((8, 12, 3), 100, np.uint8), alpha=0.5)
    assert (laid[4:, 8:] == 150).all() and (laid[:4] == 50).all() and (laid[:, :8] == 50).all()


def test_a_long_row_goes_on_in_the_next_line_and_every_picture_is_there():
    colours = [np.full((4, 4, 3), (30 * i, 255, 0), np.uint8) for i in range(1, 6)]
    drawn = np.asarray(sheet([("row", [("", c) for c in colours])], side=32, columns=3))
    for colour in colours:
        assert (drawn == colour[0, 0]).all(-1).sum() == 32 * 32
    rows = {int(np.nonzero((drawn == c[0, 0]).all(-1))[0][0]) for c in colours}
    assert len(rows) == 2
