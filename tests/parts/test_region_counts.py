"""Which numbers of regions a model can have."""

from dataclasses import replace

import pytest

from rats_jax.errors import UserError
from rats_jax.models.options import PerceiverOptions, RATSOptions, ViTOptions
from rats_jax.parts.region_counts import number_of_maps, numbers_of_regions

RATS = RATSOptions(width=12, depth=2, heads=3, registers_per_head=5)
VIT = ViTOptions(width=12, depth=2, heads=3, plain_registers=4)


@pytest.mark.parametrize(
    "given, options, patches, expected",
    [
        (None, RATS, 1024, (6, 12)),
        (None, replace(RATS, registers_per_head=1), 1024, (3,)),
        (None, VIT, 1024, (3, 4, 6, 12, 33, 96)),
        (None, replace(VIT, plain_registers=0), 16, (3, 6, 12)),
        ([12, 4, 4], RATS, 1024, (4, 12)),
    ],
)
def test_numbers_of_regions(given, options, patches, expected):
    assert numbers_of_regions(given, options, patches=patches, named="") == expected


@pytest.mark.parametrize(
    "given, patches, message",
    [
        ([16], 1024, "top_k: the model has 15 registers; choose numbers from 1 to 15"),
        ([3, 0], 1024, "choose numbers from 1 to 15"),
        (["x"], 1024, "choose numbers from 1 to 15"),
        ([], 1024, "choose numbers from 1 to 15"),
        ([10], 9, "the model has 9 patches per image of 24 pixels; choose numbers from 1 to 9"),
    ],
)
def test_numbers_that_the_model_cannot_have_are_refused(given, patches, message):
    with pytest.raises(UserError, match=message):
        numbers_of_regions(given, RATS, patches=patches, named="top_k", where=" of 24 pixels")


def test_a_vit_has_as_many_as_patches():
    with pytest.raises(UserError, match="top_k: the model has 9 patches per image; choose"):
        numbers_of_regions([10], VIT, patches=9, named="top_k")


@pytest.mark.parametrize(
    "options, usual, most",
    [
        (RATS, 8, "15 registers; choose numbers from 1 to 15"),
        (replace(RATS, registers_per_head=1), 3, "3 registers; choose numbers from 1 to 3"),
        (VIT, 3, "3 heads; choose numbers from 1 to 3"),
        (
            PerceiverOptions(width=12, depth=3, heads=3, latents=5, queries=9),
            *(8, "9 output queries; choose numbers from 1 to 9"),
        ),
    ],
)
def test_pictures_have_8_regions_or_one_for_each_head(options, usual, most):
    assert number_of_maps(None, options, named="") == usual
    assert number_of_maps(2, options, named="") == 2
    for k in (0, 16):
        with pytest.raises(UserError, match=f"--top_k: the model has {most}"):
            number_of_maps(k, options, named="--top_k")
