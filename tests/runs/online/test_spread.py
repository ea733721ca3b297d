"""Which images each process reads."""

import numpy as np

from rats_jax.runs.online.spread import Spread


def test_the_images_that_are_shown_are_of_process_0_and_spread(monkeypatch):
    spread = object.__new__(Spread)
    spread._images, spread.batch_size, spread._rows = 21, 8, np.array([0, 1, 5])
    assert spread.own().tolist() == [0, 1, 5, 8, 9, 13, 16, 17]
