"""A folder of results has what it says, and two of them can be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.finetuning.results import difference, write_results
from rats_jax.segmentation.datasets import open_segmentation
from rats_jax.segmentation.evaluation import evaluate
from rats_jax.segmentation.interface import Outputs
from rats_jax.segmentation.scoring import open_scorer

SIDES = {"short_side": 32, "long_side": 32, "multiple": 8}


def guesses(dataset, error: float):
    """A model that has seen the truth: the masks of each image, moved by a pixel, and classes with
    some errors."""
    images, rng = iter(range(len(dataset))), np.random.default_rng(0)

    def predict(_: np.ndarray) -> Outputs:
        truth = dataset.sample(next(images))
        places, masks = truth.categories, truth.masks
        if truth.labels is not None:
            places = np.unique(truth.labels)
            masks = truth.labels == places[:, None, None]
        logits = rng.normal(0, error, (len(places), len(dataset.classes) + 1)).astype(np.float32)
        logits[np.arange(len(places)), places] += 4
        return Outputs(logits, np.where(np.roll(masks, 1, 2), 4, -4).astype(np.float32))

    return predict


def written(folder, task: str, *, error: float = 1.0, images: int = 6):
    dataset = open_segmentation(f"procedural_parts:{images}@3", task=task)
    scorer = open_scorer(dataset)
    predict = guesses(dataset, error)
    found = evaluate(dataset, predict, scorer, examples=(0, 2), threads=1, **SIDES)
    table = write_results(folder, dataset, scorer, found, about={"step": 7, "checkpoint": "a"})
    return dataset, scorer, table


@pytest.mark.parametrize(
    "task, score", [("semantic", "semantic/miou"), ("instance", "instance/ap_mask")]
)
def test_the_folder_has_scores_tables_counts_and_pictures(tmp_path, task, score, capsys):
    dataset, scorer, table = written(tmp_path / "results", task)
    assert table in capsys.readouterr().out
    folder = tmp_path / "results"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["results"]
    results = json.loads((folder / "results.json").read_text())
    assert results["step"] == 7 and results["checkpoint"] == "a"
    assert results["images"] == 6 and results["left_out"] == []
    assert results["dataset"]["task"] == task
    assert results["fingerprint"] == dataset.fingerprint()
    assert results["scores"][score]["value"] == scorer.metrics()[score] > 0.3
    assert len(results["classes"]) == len(scorer.classes())
    assert {"name", "scores", "truth", "predicted"} == set(results["classes"][0])
    lines = (folder / "table.md").read_text().splitlines()
    assert lines[:3] == table.splitlines()
    assert len(lines) == 3 + 1 + 2 + len(scorer.classes())
    with Image.open(folder / "predictions.png") as picture:
        assert picture.height > 2 * 320


def test_an_earlier_folder_is_replaced_and_a_failure_leaves_it(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    written(folder, "semantic")
    (folder / "stale").touch()
    written(folder, "semantic", images=4)
    assert not (folder / "stale").exists()
    monkeypatch.setattr(np, "savez_compressed", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(folder, "semantic")
    assert json.loads((folder / "results.json").read_text())["images"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["results"]
    monkeypatch.undo()

    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == folder and path.name != ".results.old":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(UserError, match="^the folder of results .*No space left"):
        written(folder, "semantic")
    assert json.loads((folder / "results.json").read_text())["images"] == 4
    assert [file.name for file in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("task", ["semantic", "instance"])
def test_two_results_are_compared_by_image(tmp_path, task):
    *_, one, _ = written(tmp_path / "one", task)
    *_, two, _ = written(tmp_path / "two", task, error=4.0)
    found = difference(tmp_path / "one", tmp_path / "two")
    assert found == one.difference(two)
    assert next(iter(found.values())).low > 0
    assert set(difference(tmp_path / "one", tmp_path / "one").values()) == {(0, 0, 0)}


def test_what_cannot_be_compared_is_one_line(tmp_path):
    written(tmp_path / "one", "semantic")
    written(tmp_path / "two", "semantic", images=5)
    with pytest.raises(UserError, match="different images or classes: score both"):
        difference(tmp_path / "one", tmp_path / "two")
    with pytest.raises(UserError, match="nothing is not a folder of results"):
        difference(tmp_path / "one", tmp_path / "nothing")
    (tmp_path / "two/counts.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="two is not a folder of results"):
        difference(tmp_path / "two", tmp_path / "one")
    (tmp_path / "two/results.json").write_text("[]")
    with pytest.raises(UserError, match="two is not a folder of results"):
        difference(tmp_path / "two", tmp_path / "one")
