"""A dictionary on disk, and the detectors of an image."""

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.models.options import RATSOptions
from rats_jax.parts.dictionary import saved
from rats_jax.parts.dictionary.detectors import detect, layers_needed, scaled
from tests.gallery.looks import backbone

OPTIONS = RATSOptions(width=6, depth=2, heads=3)


def dictionary(width=6):
    return saved.Dictionary(
        np.ones((3, width), np.float32),
        np.array([4, -1, 9], np.int32),
        np.array([0.5, np.nan, 1], np.float32),
        np.array([8, 1, 3]),
        parts={4: "tail"},
        unit=True,
        about={"model": "m"},
    )


def test_a_dictionary_is_read_as_it_was_written(tmp_path):
    saved.save(tmp_path, dictionary())
    found = saved.load(tmp_path)
    for one, other in zip(found, dictionary(), strict=True):
        np.testing.assert_equal(one, other)
    assert [found.name(entry) for entry in range(3)] == ["tail", None, "part 9"]


def test_what_does_not_fit_or_is_damaged_is_one_line(tmp_path):
    dictionary().check_fits(OPTIONS)
    with pytest.raises(UserError, match="entries have 7 values, and the model's tokens have 6"):
        dictionary(width=7).check_fits(OPTIONS)
    with pytest.raises(UserError, match="has no dictionary.safetensors"):
        saved.load(tmp_path)
    saved.save(tmp_path, dictionary())
    (tmp_path / saved.ARRAYS).write_bytes((tmp_path / saved.ARRAYS).read_bytes()[:-9])
    with pytest.raises(UserError, match="is damaged"):
        saved.load(tmp_path)
    for value in (np.nan, np.inf):
        saved.save(tmp_path, dictionary()._replace(entries=np.full((3, 6), value, np.float32)))
        with pytest.raises(UserError, match="has entries that are not finite"):
            saved.load(tmp_path)


def test_another_model_or_resolution_is_a_warning(capsys):
    one = dictionary()._replace(about={"model": "m", "resolution": 96})
    one.warn_of_another("m", 96)
    dictionary().warn_of_another("m", 224)  # it does not say its resolution
    assert capsys.readouterr().out == ""
    one.warn_of_another("n", 224)
    warning = "another model or resolution: model m, now n; resolution 96, now 224\n"
    assert capsys.readouterr().out.endswith(warning)


def test_the_maps_of_registers_are_their_own_attention():
    model = backbone({"architecture": "rats", "registers_per_head": 2})
    options = model.options
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    features = model.looking(**layers_needed(options, norm="pre"))(pixels)
    side = 64 // options.patch
    found = detect(features, options, grid=(side, side), norm="pre")
    (attention,) = features.attention.values()
    for number in range(options.registers):
        own = np.asarray(attention)[:, number // 2, number % 2]
        low, high = own.min(-1, keepdims=True), own.max(-1, keepdims=True)
        np.testing.assert_allclose(found.maps[:, number], (own - low) / (high - low), atol=1e-5)
    ((_, layer),) = features.layers.items()
    np.testing.assert_array_equal(found.vectors, layer.raw.registers)
    assert (np.asarray(scaled(np.full((1, 4), 0.3))) == 0).all()


def test_regions_are_means_of_their_patches():
    model = backbone({"architecture": "vit"})
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    features = model.looking()(pixels)
    side = 64 // model.options.patch
    found = detect(features, model.options, grid=(side, side), regions=3)
    assert (found.maps.sum(1) == 1).all()
    for vector, inside in zip(found.vectors[0], np.asarray(found.maps[0]) > 0, strict=True):
        np.testing.assert_allclose(vector, features.patches[0][inside].mean(0), atol=1e-5)
