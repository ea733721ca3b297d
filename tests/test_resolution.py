"""How far a resolution is from the one in training."""

import re

import pytest

from rats_jax.models.options import ViTOptions
from rats_jax.resolution import default_resolution, distance_warning, is_far

SHAPE = {"width": 12, "depth": 2, "heads": 3}
DEMO, PAPER, DINOV2, LARGE = (ViTOptions(**SHAPE, image_size=size) for size in (64, 224, 518, 1408))
ROPE = ViTOptions(**SHAPE, positions="rope", rope_periods=(1.0,))


@pytest.mark.parametrize(
    "options, expected",
    [(DEMO, 128), (PAPER, 512), (DINOV2, 512), (ROPE, 512), (LARGE, 704)],
)
def test_the_default_is_512_where_that_is_near_the_training(options, expected):
    assert default_resolution(options) == expected
    assert not is_far(expected, options)


@pytest.mark.parametrize(
    "options, resolution, message",
    [
        (DEMO, 512, "8 times larger than the 64 pixels .* compare with --resolution=128"),
        (PAPER, 1024, "4.6 times larger than the 224 pixels .* compare with --resolution=512"),
        (DINOV2, 96, "5.4 times smaller than the 518 pixels .* compare with --resolution=512"),
        (PAPER, 16, "14 times smaller"),
        (DEMO, 8192, "128 times larger"),
    ],
)
def test_a_resolution_far_from_the_training_is_warned_of(options, resolution, message):
    assert re.search(message, distance_warning(resolution, options))


@pytest.mark.parametrize("options, resolution", [(PAPER, 512), (PAPER, 96), (DINOV2, 518)])
def test_one_that_is_near_is_not(options, resolution):
    assert distance_warning(resolution, options) is None


def test_rotary_positions_have_no_size_of_their_own():
    assert ROPE.trained_size is None and distance_warning(2048, ROPE) is None
