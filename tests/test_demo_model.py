"""The model in the package: what it is said to be, and what a run can start from."""

import hashlib
import json

import jax
import numpy as np
import pytest

from configs.demo import get_config
from configs.drawings import get_config as drawings
from rats_jax import demo_model
from rats_jax.assemble import make_model
from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.runs.loop import train
from rats_jax.runs.restore import restore_parts
from rats_jax.runs.workdir import with_old_fields
from tests.runs.tiny import tiny_config


def test_it_is_small_and_the_one_that_its_page_describes():
    content = (demo_model.FOLDER / demo_model.WEIGHTS).read_bytes()
    assert len(content) < 2_000_000
    page = (demo_model.FOLDER / "README.md").read_text()
    assert hashlib.sha256(content).hexdigest() in page
    assert f"{demo_model.steps():,} steps" in page


def test_the_recipe_that_it_was_trained_by_is_configs_drawings_py():
    recipe = json.loads(json.dumps(drawings().to_dict()))
    trained = with_old_fields(json.loads((demo_model.FOLDER / demo_model.CONFIG).read_text()))
    for section in ("model", "head", "crops", "photometrics", "dino", "optimizer"):
        assert trained[section] == recipe[section]
    assert not any("/" in str(value) for value in trained["data"].values())


def test_the_demo_goes_on_with_the_same_model():
    like = jax.eval_shape(make_model(get_config())[1], jax.random.key(0))
    weights = demo_model.load()
    assert weights.pop("center").shape == (1, get_config().head.prototypes)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), like)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), weights) == shapes


@pytest.mark.parametrize("checkpoint", ["demo", demo_model.FOLDER, f"{demo_model.FOLDER}/"])
def test_it_opens_as_a_backbone(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = open_backbone(checkpoint)
    assert found.origin == "the demo model in the package, after 3,000 steps on drawings"
    assert (found.options.heads, found.options.patch, found.options.trained_size) == (4, 8, 64)
    jax.tree.map(np.testing.assert_array_equal, found.params, demo_model.load()["backbone"])
    images = np.zeros((1, 64, 64, 3), np.uint8)
    assert found.looking()(images).registers.shape == (1, 16, 96)


def test_a_file_of_the_name_demo_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    with pytest.raises(UserError, match="demo"):
        open_backbone("demo")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return train(tiny_config(run__stop_after=3), str(tmp_path_factory.mktemp("first")))


def parts_of(workdir) -> dict:
    return restore_parts(workdir, ["student", "teacher", "center"]).state


def test_a_run_starts_from_the_weights_that_it_is_given(first, tmp_path):
    """With a learning rate of 0 and no decay a step leaves them as they are."""
    found = parts_of(first)
    weights = {**found["teacher"], "center": found["center"]}
    config = tiny_config(run__stop_after=1, optimizer__warmup_epochs=1.0)  # step 0 has rate 0
    config.optimizer.update(weight_decay=0.0, end_weight_decay=0.0)
    config.seed = 5
    after = parts_of(train(config, str(tmp_path / "second"), weights=weights))
    for side in ("student", "teacher"):
        for x, y in zip(*map(jax.tree.leaves, (after[side], found["teacher"])), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-6)
    assert np.abs(np.asarray(after["center"])).sum() > 0
    fresh = parts_of(train(config, str(tmp_path / "third")))
    assert (
        np.abs(
            fresh["teacher"]["backbone"]["registers"] - after["teacher"]["backbone"]["registers"]
        ).max()
        > 1e-3
    )


def test_it_goes_on_from_its_own_checkpoint_all_the_same(first, tmp_path):
    found = parts_of(first)
    workdir = str(tmp_path / "run")
    train(tiny_config(run__stop_after=2), workdir, weights=found["teacher"])
    before = parts_of(workdir)
    train(tiny_config(run__stop_after=2), workdir, weights=found["teacher"])
    for x, y in zip(*map(jax.tree.leaves, (before, parts_of(workdir))), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model__width": 48},
            r"of another size than config.model and config.head: .* is \(.*\) there",
        ),
        ({"model__architecture": "vit"}, "of another architecture than config.model"),
    ],
)
def test_weights_of_another_model_are_refused_and_nothing_is_begun(
    first, tmp_path, fields, message
):
    weights = parts_of(first)["teacher"]
    with pytest.raises(UserError, match=f"the weights to start from are {message}"):
        train(tiny_config(run__stop_after=1, **fields), str(tmp_path / "new"), weights=weights)
    assert not (tmp_path / "new").exists()


def test_weights_that_are_none_are_refused(first, tmp_path):
    whole = parts_of(first)["teacher"]
    nan = jax.tree.map(lambda x: np.full_like(x, np.nan), whole["head"])
    for weights, message in (
        ({}, "must be"),
        ({"backbone": whole["backbone"]}, "must be"),
        (whole | {"centre": 1}, "must be"),
        ([1], "must be"),
        (whole | {"head": nan}, "are not finite in head"),
    ):
        with pytest.raises(UserError, match=f"the weights to start from {message}"):
            train(tiny_config(run__stop_after=1), str(tmp_path), weights=weights)


def test_weights_may_be_in_float16_and_are_recorded(first, tmp_path):
    halves = jax.tree.map(lambda x: np.asarray(x, np.float16), parts_of(first)["teacher"])
    workdir = train(tiny_config(run__stop_after=1), str(tmp_path / "run"), weights=halves)
    assert parts_of(workdir)["teacher"]["backbone"]["registers"].dtype == np.float32
    started = json.loads((workdir / "events.jsonl").read_text().splitlines()[0])
    assert started["event"] == "started" and len(started["weights"]) == 16
