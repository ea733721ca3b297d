"""Which label maps each kind of model has, and that they reach the scores."""

import numpy as np
import pytest

from rats_jax.assemble import backbone_options
from rats_jax.models import Features
from rats_jax.models.features import Layer, Tokens
from rats_jax.parts.regions import attention_regions, register_regions
from rats_jax.parts.ways import RegionOptions, region_maps
from rats_jax.runs.restore import untrained
from tests.runs.tiny import tiny_config


@pytest.mark.parametrize(
    ("fields", "ways"),
    [
        ({}, {"registers", "centered registers", "k-means"}),
        ({"model__architecture": "vit"}, {"[CLS] attention", "k-means"}),
        (
            {"model__architecture": "vit", "model__plain_registers": 3},
            {"[CLS] attention", "register attention", "k-means"},
        ),
        (
            {"model__architecture": "perceiver", "model__depth": 3},
            {"registers", "centered registers", "k-means"},
        ),
    ],
)
def test_every_model_has_the_maps_of_its_kind(fields, ways):
    model = untrained(tiny_config(**fields))
    images = np.random.default_rng(0).normal(size=(3, 32, 24, 3)).astype(np.float32)
    watched = () if model.config.model.architecture == "perceiver" else (-1,)
    features = model.network.features(model.params, images, attention_of=watched)
    has_cls = backbone_options(model.config).has_cls
    options = RegionOptions(0.5)
    maps = region_maps(features, has_cls=has_cls, grid=(4, 3), k=3, size=(32, 24), options=options)
    assert set(maps) == ways
    for labels in maps.values():
        assert labels.shape == (3, 32, 24) and labels.min() >= 0 and labels.max() < 3


GRID = (4, 5)


def tokens(rng, registers):
    return Tokens(
        rng.normal(size=(2, registers, 8)).astype(np.float32),
        rng.normal(size=(2, 20, 8)).astype(np.float32),
        None,
    )


def test_regions_of_plain_registers_are_of_their_attention_in_the_mean_over_heads():
    rng = np.random.default_rng(1)
    attention = rng.dirichlet(np.ones(25), (2, 3, 5))[..., :20]  # [CLS], 4 registers; 3 heads
    of = tokens(rng, 4)
    vit = Features(of.registers, of.patches, None, {11: attention}, {})
    options = {"grid": GRID, "size": None, "options": RegionOptions(0.5), "has_cls": True}
    assert set(region_maps(vit, k=3, **options)) == {"[CLS] attention", "k-means"}
    maps = region_maps(vit, k=4, **options)
    assert set(maps) == {"register attention", "k-means"}
    weights = attention[:, :, 1:].mean(1)
    expected = attention_regions(attention=weights, grid=GRID, sigma=0.5)
    np.testing.assert_array_equal(maps["register attention"], expected)


def test_attention_shaped_as_that_of_a_vit_does_not_make_one():
    rng = np.random.default_rng(3)
    of = tokens(rng, 4)
    rats = Features(of.registers, of.patches, None, {2: rng.random((2, 1, 5, 20))}, {})
    maps = region_maps(rats, has_cls=False, grid=GRID, k=4, size=None, options=RegionOptions(0.5))
    assert set(maps) == {"registers", "centered registers", "k-means"}


def test_options_choose_tokens_smoothing_and_pixels():
    rng = np.random.default_rng(2)
    normed, raw = tokens(rng, 6), tokens(rng, 6)
    rats = Features(normed.registers, normed.patches, None, {}, {2: Layer(raw, normed)})
    seen = set()
    for options in (
        RegionOptions(),
        RegionOptions(smoothing=0),
        RegionOptions(norm="pre"),
        RegionOptions(argmax="pixel"),
    ):
        maps = region_maps(rats, has_cls=False, grid=GRID, k=4, size=(16, 20), options=options)
        of = raw if options.norm == "pre" else normed
        for name, centered in (("registers", False), ("centered registers", True)):
            expected = register_regions(
                registers=of.registers,
                patches=of.patches,
                grid=GRID,
                top_k=4,
                sigma=options.smoothing,
                size=(16, 20),
                argmax=options.argmax,
                centered=centered,
            )
            np.testing.assert_array_equal(maps[name], expected)
        seen.add(maps["registers"].tobytes())
    assert len(seen) == 4
