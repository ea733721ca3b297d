"""Norms of patch tokens by layer."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.classification.labelled import open_labelled
from rats_jax.data.reading import LeftOut
from rats_jax.errors import UserError
from rats_jax.evals.norm_results import write_norms
from rats_jax.evals.token_norms import (
    ModelNorms,
    Norms,
    Outlier,
    TokenNorms,
    measure_norms,
    outlier,
)
from rats_jax.models import make_backbone, options_of

OPTIONS = {"architecture": "vit", "width": 12, "depth": 2, "heads": 3, "patch": 8, "image_size": 32}


def test_percentiles_and_shares_are_those_of_all_norms_to_half_a_percent():
    norms = np.random.default_rng(0).lognormal(3, 1, (30, 2, 500)) * [[1], [7]]
    found = Norms(2)
    for part in np.array_split(norms, 4):
        found.add(part)
    for layer in range(2):
        values = norms[:, layer].ravel()
        for percent in (1, 50, 99):
            expected = np.percentile(values, percent)
            assert found.percentile(layer, percent) == pytest.approx(expected, rel=0.01)
        assert found.largest(layer) == values.max()
        cut = 3 * np.median(values)
        assert found.share_above(layer, cut) == pytest.approx((values > cut).mean(), abs=0.004)
    assert found.share_above(0, 1e9) == 0 and found.share_above(0, 0) == 1


@pytest.fixture(scope="module")
def model() -> Backbone:
    graph, state = nnx.split(make_backbone(OPTIONS | {"plain_registers": 2}, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(state)
    params["registers"] = np.full_like(params["registers"], 50.0)
    options = options_of(OPTIONS | {"plain_registers": 2})
    return Backbone(options, graph, params, "a model of tests")


@pytest.fixture
def folder(tmp_path):
    draws = np.random.default_rng(1)
    for i in range(3):
        pixels = draws.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).resize((37, 37), 0).save(tmp_path / f"{i}.png")
    return tmp_path


def test_norms_are_those_of_every_layers_tokens_before_the_final_norm(model, folder):
    images = open_labelled(f"image_folder:{folder}")
    measured = measure_norms({"model": model}, images, side=32, left_out=LeftOut(skip_broken=False))
    found, pixels = measured.models["model"], measured.pictures
    raw = model.looking(layers_of=[0, 1])(pixels).layers[1].raw
    expected = np.linalg.norm(raw.patches, axis=-1)
    np.testing.assert_allclose(found.shown, expected, rtol=1e-5)
    assert found.of["patches"].largest(1) == pytest.approx(expected.max(), rel=1e-5)
    assert found.of["registers"].percentile(0, 50) == pytest.approx(50 * 12**0.5, rel=0.05)
    assert found.of["[CLS]"].largest(1) == pytest.approx(
        np.linalg.norm(raw.global_vector, axis=-1).max(), rel=1e-5
    )


def test_a_patch_that_stands_out_is_counted(model, folder, tmp_path):
    """White patches of a model that embeds brightness alone, in two of 48."""
    for i in range(3):
        pixels = np.full((32, 32, 3), 130, np.uint8)
        pixels[:8, :8] = 255 if i < 2 else 130
        Image.fromarray(pixels).save(folder / f"{i}.png")
    params = jax.tree.map(np.zeros_like, model.params)
    params["patch_embed"]["kernel"] = np.full_like(model.params["patch_embed"]["kernel"], 0.1)
    images = open_labelled(f"image_folder:{folder}")
    found = measure_norms(
        {"bright": model._replace(params=params)},
        images,
        side=32,
        left_out=LeftOut(skip_broken=False),
    )
    results = tmp_path / "results"
    results.mkdir()
    table = write_norms(results, found, limit=outlier("3x"), about={"task": "norms"})
    row = json.loads((results / "results.json").read_text())["layers"]["bright"][1]
    assert row["share_above"] == pytest.approx(2 / 48)
    assert table.count("\n") == 3 and "4.17 %" in table
    assert {p.name for p in results.iterdir()} == {
        *("results.json", "table.md", "norms.png", "maps.png")
    }


def test_norms_that_hardly_differ_look_alike_and_an_outlier_is_bright(tmp_path):
    """The maps are not stretched from the lowest norm to the highest."""
    draws = np.random.default_rng(0)
    even = 10 + 0.1 * draws.random((1, 16), np.float32)
    spiked = even.copy()
    spiked[0, 5] = 31
    picture = np.zeros((1, 32, 32, 3), np.uint8)
    contrasts = []
    for shown in (even, spiked):
        norms = Norms(1)
        norms.add(shown[:, None])
        found = TokenNorms({"m": ModelNorms({"patches": norms}, shown)}, 1, picture)
        folder = tmp_path / str(len(contrasts))
        folder.mkdir()
        write_norms(folder, found, limit=outlier("3x"), about={})
        sheet = np.asarray(Image.open(folder / "maps.png").convert("RGB"))[-220:-28, 8:200]
        contrasts.append(np.ptp(sheet.astype(int), axis=(0, 1)).max())
    assert contrasts[0] < 10 < 100 < contrasts[1]


def test_outlier_is_a_norm_or_a_multiple_of_the_median():
    assert outlier("3x") == Outlier(3, True) and outlier("150") == Outlier(150, False)
    for bad in ("", "x", "-1", "nanx", "inf"):
        with pytest.raises(UserError, match="--outlier"):
            outlier(bad)


@pytest.mark.processes
def test_the_command_puts_the_untrained_model_beside(run_folder, folder, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("results")
    (folder / "broken.png").write_bytes(b"no image")
    command = [sys.executable, "-m", "rats_jax.evaluate", "--task=norms", "--outlier=0.001x"]
    command += [f"--checkpoint={run_folder}", f"--dataset=image_folder:{folder}"]
    command += ["--resolution=32", f"--output={tmp_path / 'out'}", "--untrained"]
    inside = [*command, f"--output={folder / 'out'}"]
    refused = subprocess.run(inside, capture_output=True, text=True)
    assert refused.returncode == 2 and "would read its own results" in refused.stderr
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2 and "broken.png" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
    done = subprocess.run([*command, "--skip_broken"], capture_output=True, text=True, check=True)
    assert "| above 0.001 x median |" in done.stdout and "| 100.00 % |" in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["images"] == 3 and len(results["skipped"]) == 1
    assert list(results["layers"]) == ["model", "untrained"]
