"""Photometric distortion, compared with colorsys and with the literal steps of MMSegmentation."""

import colorsys

import numpy as np

from rats_jax.segmentation.photometric import change_colours, distort, linear

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PIXELS[:3] = PIXELS[:3, :, :1]  # gray
PIXELS[3, :, 1:] = PIXELS[3, :, 1:2]  # two equal channels
PIXELS[4], PIXELS[5] = 0, 255


def test_colours_are_those_of_hsv():
    for saturation, hue in ((0.6, 0.0), (1.4, 0.0), (1.0, 0.08), (0.7, -0.1), (1.5, 0.1)):
        found = change_colours(PIXELS, saturation, hue).reshape(-1, 3)
        expected = []
        for red, green, blue in PIXELS.reshape(-1, 3) / 255:
            h, s, v = colorsys.rgb_to_hsv(red, green, blue)
            expected.append(colorsys.hsv_to_rgb((h + hue) % 1, min(s * saturation, 1), v))
        assert np.abs(found - 255 * np.array(expected)).max() < 0.501  # rounded


def test_linear_tables():
    values = np.arange(256, dtype=np.float32)
    np.testing.assert_array_equal(
        linear(1.3, -20), np.clip(values * np.float32(1.3) - 20, 0, 255) // 1
    )


def test_distortions_are_drawn_with_their_probabilities():
    rng = np.random.default_rng(0)
    outs = [distort(PIXELS, rng) for _ in range(400)]
    same = np.mean([np.array_equal(out, PIXELS) for out in outs])
    assert 0.03 < same < 0.1  # 1/16, all four left out
    gray = np.full((4, 4, 3), 100, np.uint8)
    levels = np.array([distort(gray, rng)[0, 0, 0] for _ in range(2000)], int)
    assert 0.2 < np.mean(levels == 100) < 0.3  # neither brightness nor contrast
    assert levels.min() >= 0.5 * 68 - 1 and levels.max() <= 1.5 * 132 + 1
    assert levels.min() < 40 and levels.max() > 190


def test_the_same_numbers_give_the_same_image():
    one, two = (distort(PIXELS, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
