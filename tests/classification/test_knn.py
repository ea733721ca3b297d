"""k-NN votes as the official script has them, and as scikit-learn; python -m rats_jax.evaluate
--task=knn on a data set."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from rats_jax.classification import knn
from rats_jax.classification.knn import knn_predictions
from rats_jax.classification.labelled import open_labelled
from rats_jax.errors import UserError
from rats_jax.evals import knn_evaluation
from rats_jax.evals.knn_evaluation import evaluate_knn, numbers_of_neighbours
from tests.classification.colours import COLOURS, MeanColour, make_colours

SIDE = 16
CLASSES = 8


@pytest.fixture(scope="module")
def vectors():
    """Bank, its labels, queries: clusters that overlap."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, 12))
    labels, of_queries = rng.integers(0, CLASSES, 230), rng.integers(0, CLASSES, 90)
    bank, queries = (
        centres[of] + 2 * rng.normal(size=(len(of), 12)) for of in (labels, of_queries)
    )
    return bank.astype(np.float32), labels, queries.astype(np.float32)


@pytest.fixture(params=[(knn.BANK, knn.QUERIES), (64, 40)], ids=["whole", "in chunks"])
def chunks(request, monkeypatch):
    """Both may end within a chunk, and a chunk may be smaller than k."""
    monkeypatch.setattr(knn, "BANK", request.param[0])
    monkeypatch.setattr(knn, "QUERIES", request.param[1])


def official_votes(bank, labels, queries, *, k, temperature):
    """[N, classes], in PyTorch, after eval_knn.py."""
    bank, queries = (torch.nn.functional.normalize(torch.tensor(x)) for x in (bank, queries))
    cosines, places = (queries @ bank.T).topk(k)
    votes = torch.zeros(len(queries), CLASSES)
    return votes.scatter_add_(1, torch.tensor(labels)[places], (cosines / temperature).exp())


def test_votes_rank_as_the_official_ones(vectors, chunks):
    ranked = knn_predictions(*vectors, (1, 10, 100, 200, 230))
    assert list(ranked) == [1, 10, 100, 200, 230]
    for k, found in ranked.items():
        votes, classes = official_votes(*vectors, k=k, temperature=0.07).sort(1, descending=True)
        expected = torch.where(votes > 0, classes, -1)[:, :5]
        np.testing.assert_array_equal(found, expected, err_msg=str(k))
        assert found.dtype == np.int64
    assert (ranked[1][:, 1:] == -1).all()


def test_classes_are_those_of_scikit_learn(vectors, chunks):
    bank, labels, queries = vectors
    for k, found in knn_predictions(*vectors, (5, 150), temperature=0.2).items():
        classifier = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda away: np.exp((1 - away) / 0.2)
        )
        expected = classifier.fit(bank, labels).predict(queries)
        np.testing.assert_array_equal(found[:, 0], expected)


def test_of_equal_neighbours_the_first_count_and_of_equal_votes_the_lower_class():
    bank, queries = np.ones((6, 4)), np.full((1, 4), 3.0)
    ranked = knn_predictions(bank, np.array([4, 2, 2, 4, 0, 0]), queries, (3, 4))
    assert ranked[3].tolist() == [[2, 4, -1, -1, -1]]
    assert ranked[4].tolist() == [[2, 4, -1, -1, -1]]


@pytest.mark.parametrize("first", [2**31 - 9, 2**40, 2**63 - 9])
def test_labels_may_be_ids_of_a_catalogue(vectors, chunks, first):
    """Arrays as long as the largest label would not fit into any memory."""
    bank, labels, queries = vectors
    expected = knn_predictions(bank, labels, queries, (1, 20))
    for k, found in knn_predictions(bank, first + labels, queries, (1, 20)).items():
        np.testing.assert_array_equal(found, np.where(expected[k] < 0, -1, first + expected[k]))


@pytest.mark.parametrize(
    "given, most, expected",
    [
        (None, 5000, (10, 20, 100, 200)),
        (None, 150, (10, 20, 100)),
        (None, 7, (7,)),
        (["20", "3", "3"], 20, (3, 20)),
    ],
)
def test_numbers_of_neighbours(given, most, expected):
    assert numbers_of_neighbours(given, most) == expected


@pytest.mark.parametrize("given", [["21"], ["0"], ["x"], []])
def test_numbers_that_cannot_be_are_refused(given):
    with pytest.raises(
        UserError, match="there are at most 20 training images; choose numbers from 1"
    ):
        numbers_of_neighbours(given, 20)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """To learn from, and to score."""
    folder = tmp_path_factory.mktemp("colours")
    return make_colours(folder / "train", each=30), make_colours(folder / "test", each=8, seed=1)


def evaluated(dataset, train=None, **options):
    train = train and open_labelled(f"image_folder:{train}")
    models = {"model": MeanColour()}
    dataset = open_labelled(f"image_folder:{dataset}")
    options = {"knn_k": ["10", "20"], "resolution": SIDE, "skip_broken": False} | options
    return evaluate_knn(models, dataset, train, **options)


def test_colours_are_told_apart_and_chance_is_not(folders, tmp_path):
    train, test = folders
    found = evaluated(test, train)
    assert found.images == 24 and found.learned_from == 90
    assert [score.top1 for _, _, score in found.rows()] == [1, 1]
    assert found.baseline == (1 / 3, 1)  # top-5 of three classes
    by_chance = evaluated(make_colours(tmp_path, each=40, told_apart=False))
    assert all(score.top1 < 0.7 for _, _, score in by_chance.rows())


def test_without_other_images_a_fifth_of_each_class_is_scored(folders):
    train, _ = folders
    found = evaluated(train)
    assert found.images == 18 and found.learned_from == 72
    assert [name.split("/")[0] for name in found.names] == sorted(list(COLOURS) * 6)
    assert [score.top1 for _, _, score in found.rows()] == [1, 1]


def test_classes_go_by_their_names(folders, tmp_path):
    train, test = folders
    (tmp_path / "green").symlink_to(test / "green")  # label 0 here, 1 there
    (tmp_path / "red").symlink_to(test / "red")
    found = evaluated(tmp_path, train)
    assert found.labels.tolist() == [1] * 8 + [2] * 8
    assert [score.top1 for _, _, score in found.rows()] == [1, 1]
    with pytest.raises(UserError, match=r"1 of the 3 classes of .* are not in .* \(blue\)"):
        evaluated(test, tmp_path)


def test_results_hold_scores_and_every_prediction(folders, tmp_path):
    train, test = folders
    found = evaluated(test, train)
    ranked = found.predictions["model"][10]
    ranked[0], ranked[1] = [2, 0, 1, -1, -1], [1, 2, -1, -1, -1]  # two mistakes: blue is 0
    table = knn_evaluation.write_results(tmp_path, found, about={"task": "knn"})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["task"] == "knn" and results["images"] == 24 and results["learned_from"] == 90
    assert results["scores"]["model"]["10"] == {"top1": 22 / 24, "top5": 23 / 24}
    assert results["majority_class"] == {"top1": 1 / 3, "top5": 1.0}
    assert (tmp_path / "table.md").read_text() == table + "\n"
    assert "| model | 10 | 91.7 | 95.8 |\n| model | 20 | 100.0 | 100.0 |\n" in table
    assert table.endswith("| majority class |  | 33.3 | 100.0 |")
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    assert list(rows[0].values()) == ["blue/000.png", "blue", "model", "10", "red", "2"]
    assert list(rows[2].values()) == ["blue/001.png", "blue", "model", "10", "green", ""]
    assert list(rows[3].values()) == ["blue/001.png", "blue", "model", "20", "blue", "1"]


def test_a_broken_image_is_told_or_skipped_and_told(folders, tmp_path, capsys):
    (tmp_path / "green").symlink_to(folders[0] / "green")
    make_colours(tmp_path, each=0)
    red = tmp_path / "red"
    red.mkdir()
    (red / "1.png").write_bytes(b"no image")
    for i in range(2, 12):
        (red / f"{i}.png").symlink_to(folders[0] / "red" / f"{60 + i:03}.png")
    with pytest.raises(UserError, match="red/1.png: not an image.*--skip_broken"):
        evaluated(tmp_path)
    found = evaluated(tmp_path, skip_broken=True)
    assert found.images + found.learned_from == 40 and "red/1.png" in found.skipped[0]
    assert "warning: skipped:" in capsys.readouterr().out
    with pytest.raises(UserError, match="--knn_k=38: there are at most 32 training images"):
        evaluated(tmp_path, skip_broken=True, knn_k=["38"])


def test_too_few_classes_or_images_are_refused(folders, tmp_path):
    (tmp_path / "green").symlink_to(folders[0] / "green")
    with pytest.raises(UserError, match="has images of fewer than two classes"):
        evaluated(tmp_path)
    few = make_colours(tmp_path / "few", each=2)
    with pytest.raises(UserError, match="a fifth of each class of .*few is less than one image"):
        evaluated(few, knn_k=["3"])


@pytest.mark.processes
def test_the_command_scores_the_untrained_model_beside(run_folder, folders, tmp_path):
    train, test = folders
    command = [
        sys.executable,
        "-m",
        "rats_jax.evaluate",
        "--task=knn",
        f"--checkpoint={run_folder}",
    ]
    command += [f"--dataset=image_folder:{test}", f"--train=image_folder:{train}"]
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'out'}", f"--resolution={SIDE}", "--untrained"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| untrained | 20 | 100.0 | 100.0 |" in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["scores"]) == ["model", "untrained"] and results["resolution"] == SIDE
    assert list(results["scores"]["model"]) == ["10", "20"]


@pytest.mark.processes
def test_the_flags_of_another_task_are_refused():
    command = [sys.executable, "-m", "rats_jax.evaluate", "--task=knn", "--epochs=3"]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr == (
        "error: --epochs belongs to --task=linear: omit it, or choose that task\n"
    )
