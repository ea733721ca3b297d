"""Principal components as colours that agree between images."""

import numpy as np

from rats_jax.pictures.pca import pca_colours

PATCHES = np.random.default_rng(0).standard_normal((40, 12)) * np.linspace(4, 1, 12)


def test_the_same_patch_has_the_same_colour_in_any_image_and_order():
    whole = pca_colours([PATCHES])[0]
    first, second = pca_colours([PATCHES[30:], PATCHES[:30]])
    np.testing.assert_array_equal(np.concatenate([second, first]), whole)
    assert whole.dtype == np.uint8 and whole.shape == (40, 3)


def test_red_green_and_blue_are_the_first_three_components():
    centred = PATCHES - PATCHES.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    for channel, axis in enumerate(axes[:3]):
        colour = pca_colours([PATCHES])[0][:, channel]
        assert abs(np.corrcoef(colour, centred @ axis)[0, 1]) > 0.99


def test_patches_that_are_all_alike_give_one_colour():
    assert len(np.unique(pca_colours([np.ones((9, 5), np.float16)])[0], axis=0)) == 1
