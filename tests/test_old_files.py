"""A run and an export that commit 209fa2c made open, resume and are evaluated today.

tests/fixtures/209fa2c/README.md says how they were made.
"""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from rats_jax.backbones import open_backbone
from rats_jax.classification.labelled import open_labelled
from rats_jax.evals.knn_evaluation import evaluate_knn, write_results
from rats_jax.runs.loop import train
from rats_jax.runs.workdir import load_config
from tests.runs.test_loop import metrics

OLD = Path(__file__).parent / "fixtures" / "209fa2c"
IMAGE = (np.arange(16 * 16 * 3).reshape(1, 16, 16, 3) * 7 % 256).astype(np.uint8)


@pytest.fixture
def workdir(tmp_path) -> Path:
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


def test_the_run_resumes_and_its_losses_are_those_of_the_old_code(workdir, capsys):
    recipe = runpy.run_path(str(OLD / "recipe.py"))["get_config"]()
    train(recipe, str(workdir))
    said = capsys.readouterr().out
    assert "config.run.stop_after was 2 and is 0 from now on" in said
    assert "was None" not in said, "a field that the run is older than has no old_runs"
    rows, expected = metrics(workdir), (OLD / "resumed_metrics.jsonl").read_text().splitlines()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, line in zip(rows, map(json.loads, expected), strict=True):
        for name in ("loss", "teacher_entropy", "learning_rate", "gradient_norm"):
            assert row[name] == pytest.approx(line[name], rel=1e-4), (row["step"], name)
    assert load_config(workdir).model.kernel_std == 0.02


@pytest.mark.parametrize("name", ["run", "export"])
def test_the_model_opens_and_computes_what_the_old_code_computed(name):
    found = open_backbone(OLD / name).looking()(IMAGE)
    for part, expected in json.loads((OLD / "features.json").read_text())[name].items():
        np.testing.assert_allclose(getattr(found, part), expected, rtol=1e-4, atol=1e-5)


def test_the_run_is_evaluated_on_the_images_that_the_old_code_scored(tmp_path):
    """Not to the same score: after two steps all images have nearly one vector, so that rounding
    chooses the neighbours."""
    model = open_backbone(OLD / "run")
    images = open_labelled("procedural_parts:60@3")
    found = evaluate_knn(
        {"model": model}, images, None, knn_k=["3"], resolution=16, skip_broken=False
    )
    write_results(tmp_path, found, about={})
    scored, expected = (
        json.loads(file.read_text()) for file in (tmp_path / "results.json", OLD / "knn.json")
    )
    for fact in ("images", "learned_from", "majority_class"):
        assert scored[fact] == expected[fact], fact
    assert scored["scores"]["model"]["3"].keys() == expected["scores"]["model"]["3"].keys()
