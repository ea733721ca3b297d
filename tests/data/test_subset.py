"""A smaller number of images, evenly spread."""

from rats_jax.data.subset import evenly


def test_images_are_chosen_evenly():
    assert evenly(5, 0).tolist() == evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
