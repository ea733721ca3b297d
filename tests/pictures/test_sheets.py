"""Heat maps on fixed scales, and sheets."""

import numpy as np
import pytest

from rats_jax.pictures.fonts import drawable, font
from rats_jax.pictures.sheets import (
    ATTENTION,
    COSINE,
    HEAT,
    Scale,
    _elided,
    heat,
    over,
    sheet,
    value_range,
)

MIDDLE = HEAT[len(HEAT) // 2]


def test_heat_goes_from_dark_to_bright():
    colours = heat(np.linspace(-1, 3, 9), Scale(-1, 3))
    np.testing.assert_array_equal(colours, HEAT)
    assert (np.diff(colours.mean(1)) > 0).all()


def test_values_beyond_the_scale_have_the_colours_of_its_ends():
    colours = heat(np.array([-np.inf, -2, 2, np.inf]), COSINE)
    np.testing.assert_array_equal(colours, HEAT[[0, 0, -1, -1]])
    np.testing.assert_array_equal(
        heat(np.array([0, 0.1, 10, 784]), ATTENTION), HEAT[[0, 0, -1, -1]]
    )


@pytest.mark.parametrize("scale, even, noise", [(ATTENTION, 1, 0.1), (COSINE, 0, 0.05)])
def test_an_even_map_looks_even(scale, even, noise):
    values = even + noise * np.random.default_rng(0).uniform(-1, 1, (8, 8))
    assert np.abs(heat(values, scale).astype(int) - MIDDLE).max() <= 10
    same = 0.9 + 0.02 * (values - even) / noise
    assert np.ptp(heat(same, scale).astype(int), axis=(0, 1)).max() <= 15


@pytest.mark.parametrize("scale, values", [(ATTENTION, [0.2, 1, 9]), (COSINE, [-0.5, 0.1, 0.8])])
def test_a_map_with_contrast_can_be_read(scale, values):
    colours = heat(np.array(values), scale).astype(int)
    assert (np.linalg.norm(np.diff(colours, axis=0), axis=1) > 60).all()


def test_equal_ratios_of_attention_are_equal_steps():
    np.testing.assert_array_equal(heat(np.array([0.1, 1, 10]), ATTENTION), HEAT[[0, 4, 8]])


def test_a_caption_has_the_range_of_a_map():
    assert value_range(np.array([0.934, 1.1])) == "0.93 to 1.10"
    assert value_range(np.array([0.0001, 784.3])) == "0.00 to 784"
    assert value_range(np.array([-0.5, 0.25])) == "-0.50 to 0.25"


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


def test_a_sheet_shows_its_scale_from_dark_to_bright():
    cell = np.zeros((4, 4, 3), np.uint8)
    drawn = np.asarray(sheet([("row", [("", cell)])], side=32, scale=ATTENTION))
    for colour in (HEAT[0], MIDDLE, HEAT[-1]):
        assert (np.abs(drawn.astype(int) - colour).max(-1) <= 2).any()


def test_a_long_title_loses_its_middle():
    heading = font(15)
    assert _elided("folder/image.jpg", heading, 700) == "folder/image.jpg"
    short = _elided("folder/" + "x" * 4000 + "/image.jpg", heading, 700)
    assert short.startswith("folder/x") and short.endswith("x/image.jpg") and "..." in short
    assert 600 < heading.getlength(short) <= 700


def test_a_title_of_any_length_does_not_widen_a_sheet():
    cell = np.zeros((4, 4, 3), np.uint8)
    title = "a" * 4000 + "/image.jpg"
    long, short = (sheet([(text, [("", cell)])], side=32) for text in (title, "a"))
    assert long.size == short.size
    elided = _elided(title, font(15), long.width - 8)
    assert long == sheet([(elided, [("", cell)])], side=32)


def test_letters_that_the_font_lacks_are_escaped_and_others_drawn():
    """Compared with what Matplotlib's own reader finds in the file."""
    from matplotlib.ft2font import FT2Font

    heading = font(15)
    letters = FT2Font(heading.path).get_charmap()
    for text in ("größe Ж α é ŵ.jpg", "日本 😀.png", "e\u0301", "\ue123"):
        expected = "".join(
            c if ord(c) in letters else c.encode("unicode_escape").decode() for c in text
        )
        assert drawable(text, heading) == expected
    assert "日" not in drawable("日本", heading) and drawable("größe", heading) == "größe"
