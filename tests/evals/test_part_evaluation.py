"""python -m rats_jax.evaluate --task=parts: every image is scored as by hand, and all is kept."""

import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.evals.part_evaluation import evaluate_parts
from rats_jax.evals.part_scores import Row
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.null_regions import grid_regions, kmeans_regions, slic_regions
from rats_jax.parts.region_metrics import score
from rats_jax.parts.regions import register_regions, resize_labels
from rats_jax.parts.saved_regions import SavedRegions
from rats_jax.parts.ways import RegionOptions
from tests.parts.datasets.written import write_ids, write_image

SIDE = 32  # 4 x 4 patches
COUNT = 19  # more than a batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of several sizes in two classes, with masks."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    for i in range(COUNT):
        size = (40 + i, 60 - i)
        for kind, pixels in (
            ("images", rng.integers(0, 256, (*size, 3), np.uint8)),
            ("masks", np.repeat(rng.integers(0, 4, (size[0], 1), np.uint8), size[1], axis=1)),
        ):
            path = folder / kind / "ab"[i % 2] / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder


OPTIONS = {
    "top_k": (2, 6),
    "resolutions": (SIDE,),
    "options": RegionOptions(),
    "saved": (),
    "skip_broken": False,
}
WITHOUT_A_MODEL = OPTIONS | {"resolutions": ()}


def evaluated(run_folder, folder, **options):
    options = OPTIONS | options
    models = {"model": open_backbone(str(run_folder))} if run_folder else {}
    return evaluate_parts(models, open_dataset(f"folder:{folder}"), **options)


def nulls(folder, **options):
    """Without a model."""
    return evaluated(None, folder, **WITHOUT_A_MODEL | options)


@pytest.fixture(scope="module")
def found(run_folder, folder):
    return evaluated(run_folder, folder, resolutions=(16, SIDE), top_k=(2, 4))


@pytest.fixture(scope="module")
def look(run_folder):
    """Features, with the last layer's tokens."""
    backbone = open_backbone(str(run_folder))
    return backbone.looking((), (backbone.options.depth - 1,))


def check_by_hand(found, look, folder, *, side, layer=False, **options):
    """The rows of a resolution, for three images; options of `register_regions`."""
    dataset = open_dataset(f"folder:{folder}")
    grid = (side // 8, side // 8)
    for i in (0, 7, COUNT - 1):
        sample = dataset.sample(i)
        small = Image.fromarray(sample.image).resize((side, side), Image.Resampling.BICUBIC)
        features = look(np.asarray(small)[None])
        tokens = next(iter(features.layers.values())).raw if layer else features
        rows = found.images[i].rows
        for k in sorted({row.k for row in rows}):
            of = dict(registers=tokens.registers, patches=tokens.patches, grid=grid, top_k=k)
            registers, centered = (
                register_regions(**of, **options, centered=centered) for centered in (False, True)
            )
            size = sample.mask.shape
            kmeans = kmeans_regions(tokens.patches, grid=grid, k=k, size=options.get("size"))
            for row, labels in (
                (Row(k, side, "model: registers"), registers[0]),
                (Row(k, side, "model: centered registers"), centered[0]),
                (Row(k, side, "model: k-means"), kmeans[0]),
                (Row(k, None, "grid"), grid_regions(size=size, k=k)),
                (Row(k, None, "SLIC"), slic_regions(sample.image, k=k)),
            ):
                labels = resize_labels(np.asarray(labels), size)
                scores, regions = rows[row]
                np.testing.assert_allclose(
                    scores, score(labels, sample.mask), atol=1e-9, err_msg=str(row)
                )
                assert regions == len(np.unique(labels)), row


def test_each_image_is_scored_as_by_hand_at_each_resolution(found, look, folder):
    dataset = open_dataset(f"folder:{folder}")
    assert [image.name for image in found.images] == [entry.name for entry in dataset.entries]
    for side in (16, SIDE):
        check_by_hand(found, look, folder, side=side)
    assert all(len(image.rows) == 2 * (3 * 2 + 2) for image in found.images)


def test_options_reach_the_regions(run_folder, look, folder):
    options = RegionOptions(smoothing=0.5, norm="pre", argmax="pixel")
    other = evaluated(run_folder, folder, top_k=(4,), options=options)
    size = {"sigma": 0.5, "size": (SIDE, SIDE), "argmax": "pixel"}
    check_by_hand(other, look, folder, side=SIDE, layer=True, **size)


def test_label_maps_do_not_depend_on_what_is_looked_at_together(
    found, run_folder, folder, monkeypatch
):
    monkeypatch.setattr("rats_jax.evals.part_evaluation._PATCHES", 4 * 16)
    again = evaluated(run_folder, folder, top_k=(2,))
    for one, other in zip(again.images, found.images, strict=True):
        assert one.rows == {row: other.rows[row] for row in one.rows}


def test_saved_regions_stand_beside_nulls_of_as_many(folder):
    """Labels are the masks of the images, so their scores are 1."""
    maps = {entry.name: entry.mask for entry in open_dataset(f"folder:{folder}").entries}
    saved = SavedRegions("truth", folder / "masks", maps)
    found = nulls(folder, top_k=(), saved=[saved])
    dataset = open_dataset(f"folder:{folder}")
    for i in (0, COUNT - 1):
        sample, rows = dataset.sample(i), found.images[i].rows
        assert list(rows) == [
            Row("own", None, way) for way in ("truth", "grid like truth", "SLIC like truth")
        ]
        own, grid, slic = rows.values()
        count = len(np.unique(sample.mask))
        assert own.scores[:4] == (1, 1, 1, 1) and own.regions == count
        assert grid.regions == count == slic.regions
        assert grid.scores == score(grid_regions(size=sample.mask.shape, k=count), sample.mask)


def test_void_pixels_count_nowhere(tmp_path):
    """In SAM's maps 0 is void; if all is, the data set is named."""
    rng = np.random.default_rng(4)
    mask = np.kron(rng.integers(0, 3, (4, 5), np.uint8), np.ones((9, 9), np.uint8))
    write_image(tmp_path / "images/a.png", mask.shape)
    write_ids(tmp_path / "masks/a.png", mask)
    found = evaluate_parts({}, open_dataset(f"sam:{tmp_path}"), **WITHOUT_A_MODEL)
    grid = grid_regions(size=mask.shape, k=6)
    (image,) = found.images
    assert image.rows[Row(6, None, "grid")] == (score(grid[mask > 0], mask[mask > 0]), 6)
    write_ids(tmp_path / "masks/a.png", np.zeros_like(mask))
    with pytest.raises(UserError, match=f"no image of {tmp_path.name} has a labelled pixel"):
        evaluate_parts({}, open_dataset(f"sam:{tmp_path}"), **WITHOUT_A_MODEL)


def test_a_broken_sample_is_told_or_skipped_and_told(folder, tmp_path, capsys):
    broken = tmp_path / "copy"
    shutil.copytree(folder, broken)
    (broken / "masks" / "b" / "17.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="17.png .*--skip_broken"):
        nulls(broken)
    found = nulls(broken, skip_broken=True)
    assert len(found.images) == COUNT - 1 and "17.png" in found.skipped[0]
    assert "warning: skipped:" in capsys.readouterr().out


def test_an_image_too_small_for_a_grid_is_broken(folder, tmp_path):
    small = tmp_path / "copy"
    shutil.copytree(folder, small)
    for kind in ("images", "masks"):
        path = small / kind / "a" / "04.png"
        Image.open(path).crop((0, 0, 1, 3)).save(path)
    with pytest.raises(UserError, match="a/04.png: 3 x 1 pixels do not hold .*--skip_broken"):
        nulls(small)
    found = nulls(small, skip_broken=True)
    assert len(found.images) == COUNT - 1 and "a/04.png" in found.skipped[0]


WAYS = "registers", "centered registers", "k-means"


@pytest.mark.processes
def test_the_command_scores_the_untrained_model_and_saved_regions_beside(
    run_folder, folder, tmp_path
):
    command = [sys.executable, "-m", "rats_jax.evaluate", f"--dataset=folder:{folder}"]
    model = [f"--checkpoint={run_folder}", "--resolution=32", "--top_k=2", "--norm=pre"]
    (tmp_path / "maps").symlink_to(folder / "masks")
    paths = ["--output=~/out", "--regions=other=~/maps"]
    done = subprocess.run(
        [*command, *model, *paths, "--untrained", "--limit=7", "--skip-broken", "--background=3"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert f"{folder.name}: 7 of 19 images, evenly spaced (--limit" in done.stdout
    assert "0 as well; nothing is void; background 3 (mBO and FG-ARI leave it" in done.stdout
    assert done.stdout.splitlines()[-1] == f"results: {tmp_path / 'out'}"
    assert "| 2 | untrained: registers | " in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["scores"]["32"]["2"]) == {
        *(f"{model}: {way}" for model in ("model", "untrained") for way in WAYS)
    }
    assert results["scores"]["any"]["own"]["other"]["mean"]["m2o"] == 1
    assert results["regions"] == {"smoothing": 1.0, "norm": "pre", "argmax": "patch"}
    assert results["resolutions"] == [32] and list(results["saved_regions"]) == ["other"]
    assert (results["limit"], results["images"], results["background"]) == (7, 7, 3)
    assert results["scores"]["any"]["own"]["other"]["mean"]["fg_ari"] == 1
    assert "| M2O | O2O | ARI | mBO | FG-ARI |" in done.stdout
    lines = (tmp_path / "out" / "images.csv").read_text().splitlines()
    names = [line.split(",")[0] for line in lines if ",own,other," in line]
    entries = open_dataset(f"folder:{folder}").entries
    assert names == [entries[i * COUNT // 7].name for i in range(7)]


def test_the_background_reaches_the_scores(folder):
    dataset = open_dataset(f"folder:{folder}")
    found = evaluate_parts({}, dataset.with_background(2), **WITHOUT_A_MODEL)
    for i, image in enumerate(found.images):
        mask = dataset.sample(i).mask
        expected = score(grid_regions(size=mask.shape, k=6), mask, background=2)
        np.testing.assert_allclose(image.rows[Row(6, None, "grid")].scores, expected, atol=1e-12)
        assert image.background == (2 in mask) and not np.isnan(expected.fg_ari)
    without = evaluate_parts({}, dataset, **WITHOUT_A_MODEL)
    scores = without.images[0].rows[Row(6, None, "grid")].scores
    assert "fg_ari" not in scores.measured() and not without.images[0].background


def test_weights_that_are_not_finite_are_one_line(run_folder, folder):
    model = open_backbone(run_folder)
    broken = model._replace(params=jax.tree.map(lambda x: x * jnp.nan, model.params))
    options = WITHOUT_A_MODEL | {"top_k": (2,), "resolutions": (SIDE,)}
    with pytest.raises(UserError, match="the features of model are not finite: the weights are"):
        evaluate_parts({"model": broken}, open_dataset(f"folder:{folder}"), **options)


@pytest.mark.processes
def test_a_background_that_no_mask_has_is_one_line(folder, tmp_path):
    given = [f"--dataset=folder:{folder}", f"--regions={folder}/masks", "--background=9"]
    command = [sys.executable, "-m", "rats_jax.evaluate", f"--output={tmp_path}/out", *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "--background=9 is not an id of these masks" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


TRIES = """
import sys
from absl import flags
from absl.testing import flagsaver
from rats_jax import evaluate
from rats_jax.errors import UserError
flags.FLAGS.mark_as_parsed()
for command in sys.argv[1:]:
    with flagsaver.flagsaver():
        flags.FLAGS(["evaluate", *command.split()])
        try:
            evaluate.main()
        except UserError as error:
            print("error:", error)
"""


@pytest.mark.processes
def test_mistakes_are_told_before_anything_is_read(run_folder, folder, tmp_path):
    checkpoint, masks = f"--checkpoint={run_folder} ", f"--regions={folder}/masks "
    patches = "--top_k=5: the model has 4 patches per image at the lowest resolution; "
    cases = {
        f"{checkpoint} --resolution=32,30": "--resolution=30 is not a multiple of the patch "
        "size (8); the nearest is 32",
        f"{checkpoint} --resolution=x": "--resolution=x: give pixels, such as 512, at most 8,192",
        f"{checkpoint} --resolution=8200": "--resolution=8200: give pixels, such as 512, at most "
        "8,192",
        f"{checkpoint} --resolution=16,32 --top_k=5": f"{patches}choose numbers from 1 to 4",
        **{
            f"{checkpoint} --resolution=32 --top_k={k}": f"--top_k={k}: the model has 6 registers; "
            "choose numbers from 1 to 6"
            for k in ("16", "3,0", "x", "")
        },
        f"{checkpoint} --smoothing=nan": "--smoothing=nan: give a number of patches, such "
        "as 1, or 0 for none",
        f"{checkpoint} --smoothing=inf": "--smoothing=inf: give a number of patches, such "
        "as 1, or 0 for none",
        f"{masks} --smoothing=2": "--smoothing needs a model: give one with --checkpoint",
        "": "--checkpoint is missing: give a run's workdir, or a file of weights",
    }
    more = f"--dataset=folder:{folder} --output={tmp_path / 'out'}"
    done = subprocess.run(
        [sys.executable, "-c", TRIES, *(f"{case} {more}" for case in cases)],
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert told == [f"error: {message}" for message in cases.values()]
    assert not (tmp_path / "out").exists()
