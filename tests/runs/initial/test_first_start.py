"""Whole runs that start from weights: frozen parts, resumes without the file, wrong checkpoints."""

import json
import shutil

import jax
import numpy as np
import pytest

from rats_jax.assemble import make_dino
from rats_jax.errors import UserError
from rats_jax.runs.initial.first_start import first_start
from rats_jax.runs.loop import train
from rats_jax.runs.restore import restore_parts
from tests.runs.initial.starts import SOURCE, assert_same, network, start
from tests.runs.test_loop import metrics
from tests.runs.tiny import tiny_config
from tests.torch_export.test_dino import export

pytestmark = pytest.mark.usefixtures("same_programs")


def parts_of(workdir) -> dict:
    return jax.device_get(restore_parts(workdir, ["student", "teacher", "center"]).state)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """An export of a ViT of the tiny run's size, and its networks."""
    folder = tmp_path_factory.mktemp("vit") / "export"
    _, parts = export(folder, model__architecture="vit")
    return folder, parts


def config_of(checkpoint, **fields):
    """A RATS whose backbone is frozen except for what is new."""
    fields = {"init__checkpoint": str(checkpoint), "init__learning_rate": 0.0} | fields
    return tiny_config(run__checkpoint_every=2, **fields)


@pytest.fixture(scope="module")
def frozen(vit, same_programs, tmp_path_factory):
    """A run of 4 steps that was never interrupted."""
    workdir = tmp_path_factory.mktemp("frozen") / "run"
    return train(config_of(vit[0], run__stop_after=4), str(workdir))


def test_what_is_frozen_does_not_move_and_the_rest_does(vit, frozen):
    after, taken = parts_of(frozen), vit[1]["teacher"]["backbone"]
    for name in ("student", "teacher"):
        backbone = after[name]["backbone"]
        assert_same(backbone["blocks"], taken["blocks"])
        assert_same(backbone["patch_embed"], taken["patch_embed"])
        np.testing.assert_array_equal(backbone["pos_embed"], taken["pos_embed"][1:])
    moved = np.abs(
        after["student"]["backbone"]["registers"] - after["teacher"]["backbone"]["registers"]
    )
    assert moved.max() > 0
    assert json.loads((frozen / "config.json").read_text())["init"]["taken"].startswith("backbone/")
    started = json.loads((frozen / "events.jsonl").read_text().splitlines()[0])
    assert started["event"] == "started" and len(started["weights"]) == 16
    assert "taken: backbone except registers" in "\n".join(started["report"])


def test_a_short_time_is_at_least_one_step():
    """0 steps would be the whole run."""
    for epochs, steps in ((0.0, 0), (0.01, 1), (0.2, 1), (1.0, 5)):
        config = tiny_config(init__learning_rate_epochs=epochs)
        assert make_dino(config, images=40).taken.steps == steps


def test_given_arrays_are_taken_in_place_of_the_checkpoint(tmp_path):
    config = tiny_config(init__checkpoint=str(tmp_path / "not_there.pth"))
    config, initial = first_start(config, str(tmp_path / "run"), SOURCE, network())
    assert config.init.checkpoint == "" and config.init.taken == "backbone head"
    assert initial.lines[0] == "starts from given weights"


def test_a_resume_needs_no_file_and_is_the_uninterrupted_run(vit, frozen, tmp_path, capsys):
    copy = shutil.copytree(vit[0], tmp_path / "export")
    workdir = str(tmp_path / "run")
    train(config_of(copy, run__stop_after=2), workdir)
    shutil.rmtree(copy)
    train(config_of(copy, run__stop_after=4), workdir)
    assert "is not read" not in capsys.readouterr().out
    assert metrics(tmp_path / "run") == metrics(frozen)
    assert_same(parts_of(workdir), parts_of(frozen))
    other = config_of(tmp_path / "other.pth", run__stop_after=4)
    train(other, workdir)
    assert "other.pth is not read: the run resumes from its own" in capsys.readouterr().out
    assert json.loads((tmp_path / "run/config.json").read_text())["init"]["checkpoint"] == str(copy)


def test_a_run_without_weights_does_not_take_them_later(tmp_path, vit, capsys):
    workdir = str(tmp_path / "run")
    train(tiny_config(run__stop_after=1), workdir)
    train(config_of(vit[0], run__stop_after=1), workdir)
    assert "is not read" in capsys.readouterr().out
    assert json.loads((tmp_path / "run/config.json").read_text())["init"]["taken"] == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: name a run's workdir, or a file of weights"),
        (b"", "is empty"),
        (b"<!doctype html>", "is a web page"),
        (b"nonsense", "is no file of weights"),
    ],
)
def test_what_holds_no_weights_is_refused_in_one_line(content, message, tmp_path):
    file = tmp_path / "weights.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message) as found:
        start(file)
    assert str(found.value).startswith("config.init.checkpoint: ")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model__architecture": "perceiver", "model__depth": 3},
            r"is a ViT, and a Perceiver cannot start from it: "
            r"set --config\.model\.architecture=vit --config\.model\.depth=2$",
        ),
        ({"init__weights": "ema"}, r"has no ema|leave out --config\.init\.weights=ema"),
    ],
)
def test_what_cannot_start_from_a_vit_is_refused(vit, fields, message):
    with pytest.raises(UserError, match=message):
        start(vit[0], **fields)


def test_a_vit_cannot_start_from_a_rats_nor_a_plainer_one_from_a_variant(tmp_path):
    variant = {"model__communicate": "learned", "model__sharing": "shared"}
    export(tmp_path / "export", **variant)
    message = (
        r"set --config\.model\.architecture=rats --config\.model\.communicate=learned "
        r"--config\.model\.sharing=shared$"
    )
    with pytest.raises(UserError, match=message):
        start(tmp_path / "export", model__architecture="vit")
    with pytest.raises(UserError, match=r"another RATS.* set --config\.model\.sharing=shared$"):
        start(tmp_path / "export", model__communicate="learned")
