"""Linear classifiers learn as PyTorch's do by eval_linear.py; python -m rats_jax.evaluate
--task=linear on a data set."""

import csv
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rats_jax.classification.labelled import LabelledImages, open_labelled
from rats_jax.classification.linear import (
    Classifiers,
    Learning,
    learn,
    ranked,
    rates_at,
    start,
)
from rats_jax.data.reading import LeftOut
from rats_jax.errors import UserError
from rats_jax.evals import linear_evaluation, linear_results
from rats_jax.evals.linear_evaluation import Recipe, choose_recipe, evaluate_linear
from rats_jax.models.options import ViTOptions
from tests.classification.colours import MeanColour, make_colours

SIDE = 16
RATES = (0.001, 0.3, 2.0)


def overlapping(count: int, *, classes: int = 4, width: int = 6, noise: float = 1, seed: int = 0):
    """Vectors and labels that no plane tells apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = np.random.default_rng(9).normal(size=(classes, width))
    return (centres[labels] + noise * rng.normal(size=(count, width))).astype(np.float32), labels


def test_each_classifier_learns_as_pytorchs_by_sgd_and_cosine():
    epochs, size = 5, 16
    vectors, labels = overlapping(40)
    state = start(classifiers=3, width=6, classes=4)
    step = jax.jit(learn)
    linears = []
    for rate in RATES:
        layer = torch.nn.Linear(6, 4)
        layer.weight.data = torch.tensor(np.asarray(state.classifiers.kernel[0])).T.contiguous()
        layer.bias.data.zero_()
        optimizer = torch.optim.SGD(
            layer.parameters(), rate * size / 256, momentum=0.9, weight_decay=0
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=0)
        linears.append((layer, optimizer, schedule))
    for epoch in range(epochs):
        rates = rates_at(epoch, epochs=epochs, rates=RATES, batch=size)
        for begin in range(0, 40, size):  # the last batch has eight
            x, y = vectors[begin : begin + size], labels[begin : begin + size]
            padded = np.pad(x, ((0, size - len(x)), (0, 0)), constant_values=7)
            known = np.pad(y, (0, size - len(y)))
            state, losses = step(state, padded, known, len(x), rates)
            for (layer, optimizer, _), found in zip(linears, losses, strict=True):
                loss = torch.nn.functional.cross_entropy(layer(torch.tensor(x)), torch.tensor(y))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                np.testing.assert_allclose(found, loss.item(), rtol=2e-6)
        for _, _, schedule in linears:
            schedule.step()
    for i, (layer, _, _) in enumerate(linears):
        kernel, bias = layer.weight.detach().T, layer.bias.detach()
        np.testing.assert_allclose(state.classifiers.kernel[i], kernel, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(state.classifiers.bias[i], bias, rtol=2e-5, atol=1e-6)


def test_long_training_ends_at_logistic_regression():
    vectors, labels = overlapping(200, noise=2, seed=1)
    others, _ = overlapping(200, noise=2, seed=2)

    def descend(i: int, state: Learning) -> Learning:
        return learn(state, vectors, labels, len(labels), rates=np.full(1, 0.3, np.float32))[0]

    state = jax.jit(lambda s: jax.lax.fori_loop(0, 1000, descend, s))(
        start(classifiers=1, width=6, classes=4)
    )
    expected = LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000).fit(vectors, labels)
    logits = state.classifiers.logits(others)[0]
    probabilities = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(probabilities, expected.predict_proba(others), atol=2e-3)


def test_the_likeliest_classes_come_first():
    kernel = np.array([[[0.0, 2, 1, 5, 4, 3]]], np.float32)
    classifiers = Classifiers(kernel, np.array([[9, 0, 0, 0, 0, 0]], np.float32))
    assert ranked(classifiers, np.float32([[1], [-10]])).tolist() == [
        [[0, 3, 4, 5, 1], [0, 2, 1, 5, 4]]
    ]


def test_the_vector_is_of_the_last_blocks_and_of_their_patches():
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    features = MeanColour().features(images, layers_of=(2, 1))
    middle, last = (features.layers[i].normed for i in (1, 2))
    found = linear_evaluation.classified_vector(features, average_patches=True)
    expected = [middle.global_vector, last.global_vector, np.asarray(last.patches).mean(1)]
    np.testing.assert_allclose(found, np.concatenate(expected, 1), atol=1e-6)
    assert not np.allclose(expected[0], expected[1])
    without = linear_evaluation.classified_vector(features, average_patches=False)
    np.testing.assert_array_equal(without, found[:, :6])


def chosen(width=384, depth=12, **given):
    given = {"last_blocks": None, "average_patches": None, "learning_rates": ["0.001"]} | given
    return choose_recipe(ViTOptions(width=width, depth=depth, heads=1), epochs=100, **given)


def test_the_recipe_follows_the_official_advice():
    assert chosen() == Recipe(4, False, (0.001,), 100)
    assert chosen(width=768) == Recipe(1, True, (0.001,), 100)
    assert chosen(width=96, depth=3).last_blocks == 3
    given = chosen(last_blocks=2, average_patches=True, learning_rates=["3e-4", "0.1", "3e-4"])
    assert given == Recipe(2, True, (0.0003, 0.1), 100)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"last_blocks": 13}, "--last_blocks=13: the model has 12 blocks; choose 1 to 12"),
        ({"learning_rates": ["0"]}, "--learning_rates=0: give positive numbers"),
        ({"learning_rates": ["1", "x"]}, "--learning_rates=1,x: give positive numbers"),
        ({"learning_rates": ["inf"]}, "--learning_rates=inf: give positive numbers"),
        ({"learning_rates": []}, "--learning_rates=: give positive numbers"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        chosen(**given)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """To learn from, and to score."""
    folder = tmp_path_factory.mktemp("colours")
    return make_colours(folder / "train", each=30), make_colours(folder / "test", each=8, seed=1)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(linear_evaluation, "BATCH", 32)  # 90 images: two, and a part of one
    monkeypatch.setattr(linear_evaluation, "SCORED", 10)


def evaluated(dataset, train=None, *, rates=(10.0,), epochs=3, skip_broken=False):
    train = train and open_labelled(f"image_folder:{train}")
    return evaluate_linear(
        {"model": MeanColour()},
        open_labelled(f"image_folder:{dataset}"),
        train,
        recipe=Recipe(2, True, rates, epochs),
        resolution=SIDE,
        skip_broken=skip_broken,
    )


def test_colours_are_told_apart_and_chance_is_not(folders, tmp_path):
    train, test = folders
    found = evaluated(test, train, rates=(10.0, 0.1), epochs=4)
    assert (found.images, found.learned_from, found.baseline.top1) == (24, 90, 1 / 3)
    assert len(found.epochs["model"]) == 4
    last = found.epochs["model"][-1]
    assert last.accuracy[0].top1 == 1 and last.losses[0] < last.losses[1]
    alone = evaluated(test, train, epochs=4)
    np.testing.assert_allclose(alone.epochs["model"][-1].losses, last.losses[:1], rtol=1e-5)
    by_chance = evaluated(make_colours(tmp_path, each=30, told_apart=False))
    assert (by_chance.images, by_chance.learned_from) == (18, 72)
    assert by_chance.epochs["model"][-1].accuracy[0].top1 < 0.8


@pytest.mark.parametrize("ids", [(2**31 - 7, 2**31 - 1, 5), (2**62, 9, 2**40)])
def test_labels_may_be_ids_of_a_catalogue(folders, ids):
    """As many classes as there are, whatever their numbers; images of others can only be missed."""
    train, test = (with_ids(folder, ids) for folder in folders)
    found = evaluate_linear(
        {"model": MeanColour()},
        test,
        train,
        recipe=Recipe(2, True, (10.0,), 3),
        resolution=SIDE,
        skip_broken=False,
    )
    expected = evaluated(folders[1], folders[0])
    for one, other in zip(found.epochs["model"], expected.epochs["model"], strict=True):
        assert one.accuracy[0].top1 == other.accuracy[0].top1
    others = with_ids(folders[1], (ids[0], ids[1], 4))
    found = evaluate_linear(
        {"model": MeanColour()},
        others,
        train,
        recipe=Recipe(2, True, (10.0,), 3),
        resolution=SIDE,
        skip_broken=False,
    )
    assert found.epochs["model"][-1].accuracy[0] == (2 / 3, 2 / 3)


def with_ids(folder, ids):
    """The images of three classes without the names of these, and with such labels."""
    images = open_labelled(f"image_folder:{folder}")

    class Source:
        def __len__(self):
            return len(images.source)

        def __getitem__(self, index):
            image, label = images.source[index]
            return image, ids[label]

    return LabelledImages(images.name, Source(), ())


def test_an_epoch_sees_each_image_once_in_new_crops(folders):
    images = open_labelled(f"image_folder:{folders[0]}")

    def epoch(number):
        recipe = Recipe(1, False, (1.0,), 10)
        left_out = LeftOut(skip_broken=False)
        indices = np.arange(70)
        parts = linear_evaluation._epoch(images, indices, recipe, number, SIDE, left_out)
        seen, rates = {}, []
        for batch, at in parts:
            assert batch.pixels.shape == (32, SIDE, SIDE, 3)
            seen |= dict(zip(batch.indices.tolist(), batch.pixels, strict=False))
            rates.append(at)
        return list(seen), seen, rates

    first, second, again = epoch(0), epoch(1), epoch(0)
    assert sorted(first[0]) == sorted(second[0]) == list(range(70))
    assert first[0] != second[0] and first[0] == again[0]
    assert all((first[1][i] == again[1][i]).all() for i in range(70))
    assert sum((first[1][i] != second[1][i]).any() for i in range(70)) == 70
    np.testing.assert_allclose(first[2], [[32 / 256]] * 3)
    np.testing.assert_allclose(second[2], [[32 / 256 * (1 + np.cos(np.pi / 10)) / 2]] * 3)


def test_a_broken_image_is_left_out_of_every_epoch(folders, tmp_path, capsys):
    for name in ("blue", "red"):
        (tmp_path / name).mkdir()
        for path in (folders[0] / name).iterdir():
            (tmp_path / name / path.name).symlink_to(path)
    (tmp_path / "red" / "x.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="red/x.png: not an image.*--skip_broken"):
        evaluated(tmp_path)
    found = evaluated(tmp_path, skip_broken=True)
    assert found.images + found.learned_from == 60
    assert len(found.skipped) == 1 and "red/x.png" in found.skipped[0]
    assert capsys.readouterr().out.count("red/x.png") == 1


def test_too_few_classes_or_images_are_refused(folders, tmp_path):
    with pytest.raises(UserError, match="a fifth of each class of .*few is less than one image"):
        evaluated(make_colours(tmp_path / "few", each=2))
    with pytest.raises(UserError, match="has images of fewer than two classes"):
        evaluated(folders[0] / "red")
    for name in ("blue", "green", "red"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="no image of .*broken can be decoded"):
        evaluated(folders[1], tmp_path / "broken", skip_broken=True)


def test_results_hold_the_last_epoch_and_the_best_and_all(folders, tmp_path):
    found = evaluated(folders[1], folders[0], rates=(10.0, 0.1))
    recipe = Recipe(2, True, (10.0, 0.1), 3)
    for number, top1 in enumerate((0.25, 0.75, 0.5)):
        of_first = found.epochs["model"][number].accuracy
        of_first[0] = of_first[0]._replace(top1=top1)
    table = linear_results.write_results(tmp_path, found, recipe, about={"task": "linear"})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["task"] == "linear" and results["epochs"] == 3 and results["images"] == 24
    of_rate = results["scores"]["model"]["10.0"]
    assert of_rate["last"]["top1"] == 0.5
    assert (of_rate["best"]["top1"], of_rate["best"]["epoch"]) == (0.75, 2)
    assert "| model | 10 | 50.0 | 100.0 | 75.0 (2) |" in table
    assert table.endswith("| majority class |  | 33.3 | 100.0 |  |")
    assert (tmp_path / "table.md").read_text() == table + "\n"
    with (tmp_path / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and rows[2]["top1"] == "0.750000"
    assert (rows[3]["learning_rate"], rows[3]["epoch"]) == ("0.1", "2")


@pytest.mark.processes
def test_the_command_trains_by_its_flags(run_folder, folders, tmp_path):
    command = [sys.executable, "-m", "rats_jax.evaluate", "--task=linear", "--epochs=2"]
    command += [f"--checkpoint={run_folder}", f"--dataset=image_folder:{folders[1]}"]
    command += [f"--resolution={SIDE}", "--last_blocks=1", "--learning_rates=0.1,1"]
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'out'}"], capture_output=True, text=True, check=True
    )
    assert "without --train, a fifth of each class" in done.stdout
    assert "epoch 2 of 2, model: top-1 " in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["scores"]["model"]) == ["0.1", "1.0"]
    assert results["last_blocks"] == 1 and results["average_patches"] is False
    assert (results["images"], results["learned_from"]) == (6, 18)
