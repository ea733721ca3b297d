"""python -m rats_jax.evaluate --task=parts: every image is scored as by hand, and all is kept."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.evals import part_evaluation
from rats_jax.evals.datasets import open_dataset
from rats_jax.evals.part_evaluation import evaluate_parts, numbers_of_regions
from rats_jax.evals.region_metrics import score
from rats_jax.evals.regions import grid_regions, kmeans_regions, register_regions, resize_labels

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


def evaluated(run_folder, folder, **options):
    options = {"top_k": (2, 6), "resolution": SIDE, "skip_broken": False} | options
    models = {"model": open_backbone(str(run_folder))}
    return evaluate_parts(models, open_dataset(f"folder:{folder}"), **options)


def test_each_image_is_scored_as_by_hand(run_folder, folder):
    found = evaluated(run_folder, folder)
    dataset, look = open_dataset(f"folder:{folder}"), open_backbone(str(run_folder)).looking(())
    assert [image.name for image in found.images] == [entry.name for entry in dataset.entries]
    for i in (0, 7, COUNT - 1):
        sample = dataset.sample(i)
        small = Image.fromarray(sample.image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        features = look(np.asarray(small)[None])
        for k, scores in found.images[i].scores.items():
            registers = register_regions(
                registers=features.registers, patches=features.patches, grid=(4, 4), top_k=k
            )
            kmeans = kmeans_regions(features.patches, grid=(4, 4), k=k)
            for way, labels in (
                ("model: registers", resize_labels(np.asarray(registers)[0], sample.mask.shape)),
                ("model: k-means", resize_labels(kmeans[0], sample.mask.shape)),
                ("grid", grid_regions(size=sample.mask.shape, k=k)),
            ):
                expected = score(labels, sample.mask)
                np.testing.assert_allclose(scores[way], expected, atol=1e-9, err_msg=f"{k} {way}")
            assert len(scores) == 3


def test_results_hold_means_images_and_classes(run_folder, folder, tmp_path):
    found = evaluated(run_folder, folder, top_k=(3,))
    table = part_evaluation.write_results(tmp_path, found, about={"task": "parts"})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["task"] == "parts" and results["images"] == COUNT and results["skipped"] == []
    ways = [image.scores[3]["model: registers"] for image in found.images]
    mean = results["scores"]["3"]["model: registers"]["mean"]
    np.testing.assert_allclose([mean["m2o"], mean["o2o"], mean["ari"]], np.mean(ways, axis=0))
    assert f"| 3 | model: registers | {100 * mean['m2o']:.1f} (" in table
    assert (tmp_path / "table.md").read_text() == table + "\n"
    with (tmp_path / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3 * COUNT
    with (tmp_path / "classes.csv").open() as file:
        of_classes = [row for row in csv.DictReader(file) if row["regions"] == "grid"]
    assert [(row["class"], row["images"]) for row in of_classes] == [("a", "10"), ("b", "9")]
    grid = [image.scores[3]["grid"].m2o for image in found.images if image.group == "a"]
    np.testing.assert_allclose(float(of_classes[0]["m2o"]), np.mean(grid), atol=1e-6)


def test_a_broken_sample_is_told_or_skipped_and_told(run_folder, folder, tmp_path, capsys):
    broken = tmp_path / "copy"
    shutil.copytree(folder, broken)
    (broken / "masks" / "b" / "17.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="17.png .*--skip-broken"):
        evaluated(run_folder, broken)
    found = evaluated(run_folder, broken, top_k=(2,), skip_broken=True)
    assert len(found.images) == COUNT - 1 and "17.png" in found.skipped[0]
    assert "warning: skipped:" in capsys.readouterr().out


RATS = {"architecture": "rats", "heads": 3, "registers_per_head": 5}
VIT = {"architecture": "vit", "heads": 3}


@pytest.mark.parametrize(
    "given, options, patches, expected",
    [
        (None, RATS, 1024, (6, 12)),
        (None, RATS | {"registers_per_head": 1}, 1024, (3,)),
        (None, VIT, 1024, (3, 6, 12, 33, 96)),
        (None, VIT, 16, (3, 6, 12)),
        (["12", "4", "4"], RATS, 1024, (4, 12)),
    ],
)
def test_numbers_of_regions(given, options, patches, expected):
    assert numbers_of_regions(given, options, patches=patches) == expected


@pytest.mark.parametrize(
    "given, patches, message",
    [
        (["16"], 1024, "--top_k=16: the model has 15 registers; choose numbers from 1 to 15"),
        (["3", "0"], 1024, "choose numbers from 1 to 15"),
        (["x"], 1024, "choose numbers from 1 to 15"),
        ([], 1024, "choose numbers from 1 to 15"),
        (["10"], 9, "the model has 9 patches an image"),
    ],
)
def test_numbers_that_the_model_cannot_have_are_refused(given, patches, message):
    with pytest.raises(UserError, match=message):
        numbers_of_regions(given, RATS, patches=patches)


def test_the_command_scores_the_untrained_model_beside(run_folder, folder, tmp_path):
    command = [sys.executable, "-m", "rats_jax.evaluate", f"--checkpoint={run_folder}"]
    command += [f"--dataset=folder:{folder}", f"--output={tmp_path / 'out'}"]
    done = subprocess.run(
        [*command, "--resolution=32", "--top_k=2", "--untrained"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| 2 | untrained: registers |" in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["scores"]["2"]) == {
        *("model: registers", "model: k-means", "untrained: registers", "untrained: k-means"),
        "grid",
    }
    failed = subprocess.run(
        [*command[:-1], "--resolution=30", f"--output={tmp_path / 'no'}"],
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 2 and not (tmp_path / "no").exists()
    assert failed.stderr == (
        "error: --resolution=30 is no multiple of the patch (8); the nearest is 32\n"
    )
