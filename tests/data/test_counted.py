"""One is no plural."""

import pytest

from rats_jax.data.counted import counted


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 images"), (1, "1 image"), (1200, "1,200 images")]
)
def test_one_is_singular(count, text):
    assert counted(count, "image") == text
