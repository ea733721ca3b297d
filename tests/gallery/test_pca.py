"""Principal components as colours that agree between images."""

import numpy as np
import pytest

from rats_jax.gallery import pca
from rats_jax.gallery.pca import principal_components

PATCHES = np.random.default_rng(0).standard_normal((40, 12)) * np.linspace(4, 1, 12)


def test_the_same_patch_has_the_same_colour_in_any_image_and_order():
    whole = principal_components([PATCHES])
    halves = principal_components([PATCHES[30:], PATCHES[:30]])
    np.testing.assert_array_equal(halves.colours(PATCHES[:7]), whole.colours(PATCHES)[:7])
    assert whole.colours(PATCHES).dtype == np.uint8 and whole.colours(PATCHES).shape == (40, 3)


def test_red_green_and_blue_are_the_first_three_components():
    centred = PATCHES - PATCHES.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    found = principal_components([PATCHES])
    for channel, axis in enumerate(axes[:3]):
        colour = found.colours(PATCHES)[:, channel]
        assert abs(np.corrcoef(colour, centred @ axis)[0, 1]) > 0.99
    shares = sizes**2 / (sizes**2).sum()
    np.testing.assert_allclose(found.shares, shares[:3])
    assert str(found) == " + ".join(f"{100 * s:.0f}" for s in shares[:3]) + " % of the variance"


@pytest.mark.parametrize("noise", [0, 1e-6, 0.01])
def test_patches_that_hardly_differ_stay_grey(noise):
    patches = np.ones((9, 5), np.float32) + noise * np.random.default_rng(0).standard_normal((9, 5))
    colours = principal_components([patches]).colours(patches)
    assert (abs(colours.astype(int) - 128) <= 5).all()


def test_patches_without_structure_have_weaker_colours_than_those_with_it():
    draws = np.random.default_rng(0)
    noise = draws.standard_normal((2000, 384))
    kinds = draws.standard_normal((4, 384))[draws.integers(0, 4, 2000)] + 0.5 * noise
    spreads = [
        np.ptp(principal_components([patches]).colours(patches).astype(int), axis=0)
        for patches in (noise, kinds)
    ]
    assert spreads[0].max() < 140 < 200 < spreads[1].min()


def test_of_many_patches_some_are_enough(monkeypatch):
    whole = principal_components([PATCHES, PATCHES])
    monkeypatch.setattr(pca, "MOST", 20)
    some = principal_components([PATCHES, PATCHES])  # every fourth
    np.testing.assert_allclose(some.mean, PATCHES[::4].mean(0))
    assert not np.allclose(some.mean, whole.mean)
