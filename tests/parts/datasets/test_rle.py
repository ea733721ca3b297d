"""COCO's run-length encoding, against what pycocotools 2.0.11 wrote, and damaged."""

import numpy as np
import pytest

from rats_jax.parts.datasets.rle import decode_rle, decompress
from tests.parts.datasets.written import compressed_rle, runs

DISC = "W>;k04M2M4M2O0O2N2O0O2O00000000000000000001N101N2N101N3L3N3Lch0"


def test_a_string_of_pycocotools_is_its_mask():
    y, x = np.mgrid[:40, :60]
    disc = (y - 20) ** 2 + (x - 25) ** 2 < 15**2
    assert compressed_rle(disc)["counts"] == DISC  # so the tests' own encoder is right as well
    for counts in (DISC, DISC.encode(), runs(disc)):
        np.testing.assert_array_equal(decode_rle(counts, (40, 60)), disc)


@pytest.mark.parametrize("density", [0, 0.01, 0.5, 1])
def test_any_mask_survives(density):
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random(rng.integers(1, 70, 2)) < density
        for encoded in (compressed_rle(mask)["counts"], runs(mask)):
            np.testing.assert_array_equal(decode_rle(encoded, mask.shape), mask)


def test_long_runs_take_several_characters():
    mask = np.zeros((3000, 700), bool)
    mask[:, 650] = True
    np.testing.assert_array_equal(decode_rle(compressed_rle(mask)["counts"], mask.shape), mask)
    assert decompress("0") == [0] and decompress("").size == 0


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ([5, 6], "its runs sum to 11, but 3 x 4 is 12"),
        (DISC, "its runs sum to 2400"),
        ([20, -8], "a run is negative"),
        ([2**62] * 4 + [12], f"its runs sum to {2**64 + 12}"),  # 12 in 64 bits
        ([2**63], f"its runs sum to {2**63}"),
        ([2**64, 12], "neither integers nor a string"),
        ([8, 2.5, 1.5], "neither integers nor a string"),
        ([[8], [2, 2]], "neither integers nor a string"),
        (None, "neither integers nor a string"),
        ("8é", "not ASCII"),
        ("8 4", "contains an invalid character"),
        ("8\x7f", "contains an invalid character"),
        (DISC[:1], "cut short"),
        ("o" * 40 + "0", "too long"),
        ("", "sum to 0"),
    ],
)
def test_a_corrupt_one_says_why(counts, reason):
    with pytest.raises(ValueError, match=reason):
        decode_rle(counts, (3, 4))
