"""Dense probes of a data set: what is learned, what is scored, and what is refused."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.evals.dense_probes import Probes, warnings_of_rates
from rats_jax.evals.segmentation_evaluation import evaluate_segmentation
from rats_jax.parts.datasets import VOID, Labelled, PartDataset, open_dataset
from rats_jax.parts.datasets.part_dataset import Entry
from rats_jax.procedural_parts.folder import write_folder

SIDE = 32
PROBES = Probes(("linear", "in_context"), (0.01, 0.1), 60, 5, 1000)
COLOURS = {2: (220, 30, 30), 5: (30, 30, 220), 9: (30, 200, 30)}


@dataclass(frozen=True)
class Painted(PartDataset):
    """Images of coloured squares whose class is their colour. first: the seed of the first image.
    changes: number of an image -> its mask becomes this id, where it is not void."""

    first: int = 0
    changes: dict = field(default_factory=dict)
    ids: tuple[int, ...] = (2, 5)

    def _read(self, entry: Entry) -> Labelled:
        if entry.fault:
            raise UserError(entry.fault)
        rng = np.random.default_rng([self.first, entry.details])
        mask = rng.choice(self.ids, (4, 4)).repeat(10, 0).repeat(12, 1)
        image = np.array([COLOURS[id_] for id_ in mask.ravel()], np.uint8).reshape(*mask.shape, 3)
        mask[:10] = VOID
        if entry.details in self.changes:
            mask = np.where(mask == VOID, VOID, self.changes[entry.details])
        return Labelled(image, mask, entry.name, None, {2: "red", 5: "blue", 9: "green"})


def painted(count: int = 10, **fields) -> Painted:
    entries = [Entry(f"image {i}", details=i) for i in range(count)]
    return Painted("painted", "", entries, None, **fields)


@pytest.fixture(scope="module")
def model(run_folder):
    return open_backbone(run_folder)


def evaluated(model, folder, dataset, train=None, probes=PROBES, side=SIDE):
    options = {"probes": probes, "resolution": side, "folder": folder, "skip_broken": False}
    return evaluate_segmentation({"model": model}, dataset, train, **options)


def test_colours_predict_classes_that_are_colours(model, tmp_path):
    found = evaluated(model, tmp_path, painted(), painted(first=7))
    assert list(found.rows) == [
        *("model: linear", "model: in-context", "colour: linear", "colour: in-context"),
        "majority class",
    ]
    for row in ("colour: linear", "colour: in-context"):
        assert found.rows[row].mean().miou > 0.85, row  # bilinear edges are not squares
    assert 0.4 < found.rows["majority class"].mean().aacc < 0.6
    assert found.images == found.learned_from == 10 and found.classes == 2
    assert found.remembered == 10 * 12  # a row of patches is void
    assert found.names == {2: "red", 5: "blue", 9: "green"}
    difference = found.differences["model: linear - colour: linear"].mean.miou
    one, other = (found.rows[f"{of}: linear"].mean().miou for of in ("model", "colour"))
    assert difference == pytest.approx(one - other)
    assert set(found.rates["model: linear"]) == {0.01, 0.1} and not list(tmp_path.iterdir())


def test_masks_that_are_scored_are_not_learned_from(model, tmp_path):
    """Without a training set, images 0 and 5 are scored."""
    plain = evaluated(model, tmp_path, painted())
    changed = evaluated(model, tmp_path, painted(changes={0: 5, 5: 9}))
    assert plain.images == 2 and plain.learned_from == 8
    assert not any("classes" in line for line in plain.warnings)
    for row, counts in plain.rows.items():
        predicted = {id_: of.predicted for id_, of in counts.classes().items()}
        after = {id_: of.predicted for id_, of in changed.rows[row].classes().items()}
        assert predicted == {id_: after.get(id_, 0) for id_ in predicted}
        assert counts.mean() != changed.rows[row].mean()
    (warning,) = (line for line in changed.warnings if "classes" in line)
    assert "1 classes of painted (9; 50.00 % of its labelled pixels) have no pixel" in warning
    learned = evaluated(model, tmp_path, painted(changes={1: 5, 2: 5}))
    assert learned.rows["model: linear"].mean() != plain.rows["model: linear"].mean()


def test_memory_has_as_many_patches_of_each_image(model, tmp_path):
    probes = PROBES._replace(kinds=("in_context",), memory=40)
    found = evaluated(model, tmp_path, painted(), painted(first=7), probes)
    assert found.remembered == 40 and not found.rates
    found = evaluated(model, tmp_path, painted(), painted(first=7), probes._replace(memory=3))
    assert found.remembered == 3


@pytest.mark.parametrize(
    ("train", "dataset", "side", "message"),
    [
        (painted(first=7, ids=(2,)), painted(), SIDE, "10 training images of painted have only th"),
        (painted(first=7, changes=dict.fromkeys(range(10), VOID)), painted(), SIDE, "no labelled"),
        (painted(first=7), painted(changes=dict.fromkeys(range(10), VOID)), SIDE, "all are void"),
        (painted(1, first=7), painted(), SIDE, "only one training image, so none can be held out"),
        (None, painted(1), SIDE, "painted has only one image: one to train and one to score"),
        (painted(first=7), painted(), 8, "--resolution=8: an image has only one patch; choose 16"),
        (
            *(open_dataset("procedural_parts:9@3"), open_dataset("procedural_parts:4@3"), SIDE),
            r"4 images of --dataset are also .* \(procedural_parts:COUNT@SEED with another seed\)",
        ),
    ],
)
def test_what_cannot_be_learned_or_scored_is_refused(
    model, tmp_path, train, dataset, side, message
):
    with pytest.raises(UserError, match=message):
        evaluated(model, tmp_path, dataset, train, side=side)


def test_the_same_files_are_refused_without_advice_on_seeds(model, tmp_path):
    dataset = replace(painted(), entries=[Entry("a", image=tmp_path / "a.png")])
    with pytest.raises(UserError, match="give other images to score$"):
        evaluated(model, tmp_path, dataset, dataset)


def test_worlds_of_drawings_share_no_image():
    parts, same, composites = (
        open_dataset(spec).identities
        for spec in ("procedural_parts:12@1", "procedural_parts:6@1", "composites:6@1")
    )
    assert same < parts and len(composites) == 6 and not composites & parts


def test_the_highest_learning_rate_is_a_warning_if_there_are_others():
    rates = {"a: linear": {0.1: 0.5, 0.01: 0.4}, "b: linear": {0.01: 0.4, 0.1: 0.3}}
    (line,) = warnings_of_rates(rates)
    assert line.startswith("warning: a: linear: the highest learning rate was the best")
    assert "give higher --learning_rates or more --iterations" in line
    assert not warnings_of_rates({"a: linear": {0.1: float("nan")}})


def test_a_warning_about_the_rates_is_kept(model, tmp_path):
    """Of a tiny rate and a usual one, the usual one is the best."""
    probes = PROBES._replace(kinds=("linear",), learning_rates=(1e-7, 0.1))
    found = evaluated(model, tmp_path, painted(), painted(first=7), probes)
    (line,) = found.warnings
    assert "colour: linear" in line and "may not be converged" in line


def test_features_that_are_not_finite_are_refused(model, tmp_path):
    broken = model._replace(params=jax.tree.map(lambda x: x * jnp.nan, model.params))
    with pytest.raises(UserError, match="the features of model are not finite for image 0"):
        evaluated(broken, tmp_path, painted(), painted(first=7))


def test_a_broken_image_is_left_out_if_this_is_allowed(model, tmp_path):
    entries = [*painted().entries, Entry("lost", fault="lost is broken")]
    dataset = replace(painted(), entries=entries)
    with pytest.raises(UserError, match="lost is broken"):
        evaluated(model, tmp_path, dataset, painted(first=7))
    found = evaluate_segmentation(
        {"model": model},
        dataset,
        replace(painted(first=7), entries=entries),
        probes=PROBES,
        resolution=SIDE,
        folder=tmp_path,
        skip_broken=True,
    )
    assert found.images == found.learned_from == 10 and found.skipped == ["lost is broken"]


def command(run_folder, output, *more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rats_jax.evaluate", "--task=segmentation", "--resolution=32"]
        + [f"--checkpoint={run_folder}", f"--output={output}", "--iterations=30", *more],
        capture_output=True,
        text=True,
    )


@pytest.mark.processes
def test_the_command_writes_scores_and_classes(run_folder, tmp_path):
    folder, output = tmp_path / "drawings", tmp_path / "out"
    for _ in write_folder(folder, count=30, size=32, seed=5):
        pass
    done = command(run_folder, output, f"--dataset=folder:{folder}", "--untrained")
    assert done.returncode == 0, done.stderr
    results = json.loads((output / "results.json").read_text())
    rows = [f"{of}: {by}" for of in ("model", "untrained", "colour")
            for by in ("linear", "in-context")]  # fmt: skip
    assert [*results["scores"]] == [*rows, "majority class"]
    assert results["images"] == 6 and results["learned_from"] == 24
    assert results["learning_rates"] == [0.003, 0.01, 0.03, 0.1]
    for row in results["scores"].values():
        assert all(row["low"][x] <= row["mean"][x] <= row["high"][x] for x in row["mean"])
        assert {"iou", "accuracy", "pixels", "predicted"} == set(row["classes"]["40"])
    assert "model: linear - untrained: linear" in results["differences"]
    lines = (output / "classes.csv").read_text().splitlines()
    assert lines[0] == "probe,id,name,iou,accuracy,pixels,predicted"
    assert len(lines) == 1 + sum(len(row["classes"]) for row in results["scores"].values())
    assert (output / "table.md").read_text().strip() in done.stdout
    assert {file.name for file in output.iterdir()} == {"results.json", "table.md", "classes.csv"}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--dataset=sam:."],
            "accepts folder, ade20k, imagenet-s, partimagenet, pascal-part, procedural_parts, comp",
        ),
        (["--dataset=procedural_parts:9", "--probe=knn"], "--probe=knn: choose from linear,in_con"),
        (["--dataset=procedural_parts:9", "--learning_rates=0,x"], "give positive numbers separat"),
        (
            ["--dataset=procedural_parts:9", "--entries=3"],
            "--entries belongs to --task=consistency",
        ),
    ],
)
def test_a_mistake_is_one_line(run_folder, tmp_path, more, message):
    failed = command(run_folder, tmp_path / "out", *more)
    assert failed.returncode == 2 and message in failed.stderr
    assert failed.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
