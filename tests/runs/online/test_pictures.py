"""Pictures of the regions of a few images."""

import numpy as np

from rats_jax.runs.online.pictures import Shown, part_picture


def test_images_of_any_shape_are_shown():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (32, 32, 3), np.uint8), np.arange(64).reshape(8, 8) // 16
    one, other = (part_picture([Shown(image, mask, labels)], k=4) for labels in (mask, mask.T))
    assert one.shape == other.shape and (one != other).any()
    for height, width in ((40, 90), (500, 30), (1, 700)):
        mask = rng.integers(-1, 3, (height, width))
        image = rng.integers(0, 256, (32, 32, 3), np.uint8)
        found = part_picture([Shown(image, mask, rng.integers(0, 4, (4, 4)))], k=4)
        assert found.dtype == np.uint8 and found.shape[2] == 3
