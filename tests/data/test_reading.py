"""Images are read in batches, without those that are broken."""

import numpy as np
import pytest

from rats_jax.data.reading import LeftOut, in_batches, padded
from rats_jax.errors import BrokenImage, UserError
from rats_jax.progress import Progress

WORK = Progress("images", 9)


def read(i: int) -> int:
    if i in (1, 5):
        raise BrokenImage(f"image {i}") if i == 1 else UserError(f"image {i}")
    return i


def test_batches_are_full_and_in_order_without_what_is_left_out():
    left_out = LeftOut(skip_broken=True)
    assert list(in_batches(read, range(9), left_out, WORK, size=3)) == [[0, 2, 3], [4, 6, 7], [8]]
    assert left_out.lines == ["image 1", "image 5"]
    assert list(in_batches(read, range(2, 5), left_out, WORK, size=3)) == [[2, 3, 4]]
    assert list(in_batches(read, [1, 5], left_out, WORK, size=3)) == []
    with pytest.raises(UserError, match="image 1 .or skip it with --skip_broken"):
        list(in_batches(read, range(9), LeftOut(skip_broken=False), WORK, size=3))


def test_progress_counts_images_that_are_left_out(monkeypatch):
    counted = Progress("images", 9)
    added: list[int] = []
    monkeypatch.setattr(counted, "add", added.append)
    left_out = LeftOut(skip_broken=True)
    assert len(list(in_batches(read, range(9), left_out, counted, size=4))) == 2
    assert sum(added) == 9 and len(left_out.lines) == 2


def test_a_short_batch_is_padded_with_zeros():
    rows = [np.full((2, 1), i, np.uint8) for i in (7, 8)]
    array = padded(rows, 4)
    assert array.dtype == np.uint8 and array.tolist() == [[[7]] * 2, [[8]] * 2, *[[[0]] * 2] * 2]
