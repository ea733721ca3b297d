"""Which label maps each kind of model has, and that they reach the scores."""

import numpy as np
import pytest

from rats_jax.evals.parts import extract, region_maps, score_maps
from rats_jax.runs.restore import untrained
from tests.runs.tiny import tiny_config


@pytest.mark.parametrize(
    ("fields", "ways"),
    [
        ({}, {"registers", "k-means"}),
        ({"model__architecture": "vit"}, {"[CLS] attention", "k-means"}),
        (
            {"model__architecture": "vit", "model__plain_registers": 4},
            {"[CLS] attention", "k-means"},
        ),
        ({"model__architecture": "perceiver", "model__depth": 3}, {"registers", "k-means"}),
    ],
)
def test_every_model_has_the_maps_of_its_kind(fields, ways):
    model = untrained(tiny_config(**fields))
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 24, 3), dtype=np.uint8)
    features = extract(model.network, model.params, images, batch=2)
    maps = region_maps(features, grid=(4, 3), k=3, sigma=0.5, size=(32, 24))
    assert set(maps) == ways
    for labels in maps.values():
        assert labels.shape == (3, 32, 24) and labels.min() >= 0 and labels.max() < 3


def test_maps_that_equal_the_masks_score_one():
    masks = np.arange(2 * 4 * 4).reshape(2, 4, 4) // 4
    scores = score_maps(masks % 4, masks)
    assert scores.images == 2
    assert tuple(scores.mean) == pytest.approx((1, 1, 1))
