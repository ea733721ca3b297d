"""A run's checkpoint by whatever path people name it."""

import os
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.runs.find import Place, find_run
from rats_jax.runs.restore import restore, restore_parts
from tests.runs.checkpoints.checkpoints import assert_equal, data_files, truncate
from tests.weights import official


@pytest.fixture
def run(run_folder, tmp_path):
    """A run of one's own, with steps 10 and 20."""
    return shutil.copytree(run_folder, tmp_path / "run")


def weights(folder):
    folder.mkdir(parents=True)
    state = {name: x.numpy() for name, x in official.vit().state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("inside", "step"),
    [
        ("", None),
        ("checkpoints", None),
        ("checkpoints/", None),
        ("checkpoints/10", 10),
        ("checkpoints/10/", 10),
        ("checkpoints/10/state", 10),
        ("checkpoints/10/meta", 10),
        ("checkpoints/10/meta/metadata", 10),
        ("checkpoints/../checkpoints/20", 20),
        ("checkpoints/10/..", None),
        ("checkpoints/10/../20", 20),
        ("checkpoints/10/../..", None),
        ("checkpoints/15", 15),  # which is then reported with those that are there
    ],
)
def test_each_level_of_a_run_means_its_checkpoint(run_folder, monkeypatch, inside, step):
    for path in (run_folder / inside, f"{run_folder}/{inside}"):
        place = find_run(run_folder / path)
        assert (os.path.realpath(place.workdir), place.step) == (os.path.realpath(run_folder), step)
    monkeypatch.chdir(run_folder.parent)
    assert find_run(type(run_folder)(f"{run_folder.name}/{inside}")).step == step


@pytest.mark.parametrize(
    ("cwd", "path", "step"),
    [
        ("", ".", None),
        ("checkpoints", ".", None),
        ("checkpoints", "10", 10),
        ("checkpoints", "..", None),
        ("checkpoints/10", ".", 10),
        ("checkpoints/10", "../20", 20),
        ("checkpoints/10/state", ".", 10),
    ],
)
def test_one_may_be_inside(run_folder, monkeypatch, cwd, path, step):
    monkeypatch.chdir(run_folder / cwd)
    found = open_backbone(path)
    assert found.step == (step or 20) and found.origin.startswith("the teacher of the run in run")


def test_links_are_followed(run, tmp_path):
    (tmp_path / "latest").symlink_to("run/checkpoints/10")
    (tmp_path / "run2").symlink_to("run")
    (tmp_path / "there").symlink_to("run/checkpoints")
    assert open_backbone(tmp_path / "latest").step == 10
    assert open_backbone(tmp_path / "run2").origin.startswith("the teacher of the run in run at")
    assert open_backbone(tmp_path / "there").step == 20
    shutil.move(run / "checkpoints", tmp_path / "disk")
    (run / "checkpoints").symlink_to(tmp_path / "disk")
    assert open_backbone(run / "checkpoints" / "10").step == 10
    assert open_backbone(run / "checkpoints").step == 20
    assert find_run(tmp_path / "disk" / "10") == Place(None, None, tmp_path / "disk" / "10")


def test_a_step_that_the_path_contradicts_is_refused(run_folder):
    assert restore(run_folder / "checkpoints" / "10", step=10).step == 10
    with pytest.raises(UserError, match="is the checkpoint at step 10, but step 20 was requested"):
        restore(run_folder / "checkpoints" / "10", step=20)


def test_the_arrays_of_a_step_alone_are_told(run_folder, tmp_path):
    state = run_folder / "checkpoints" / "10" / "state"
    shutil.copytree(state, tmp_path / "mine" / "state")
    for path in (tmp_path / "mine", tmp_path / "mine" / "state"):
        with pytest.raises(UserError, match="is only a part of a checkpoint: also copy its meta/"):
            open_backbone(path)


def test_a_copied_step_is_read_by_the_config_in_it(run, tmp_path):
    copied = shutil.copytree(run / "checkpoints" / "10", tmp_path / "elsewhere" / "best")
    original = open_backbone(run / "checkpoints" / "10")
    shutil.rmtree(run)
    for path in (copied, copied / "state", copied / "meta" / "metadata"):
        found = open_backbone(path)
        assert found.origin == "the teacher of a run, in its copy best, at step 10"
        assert (found.step, found.workdir, found.options) == (10, None, original.options)
        assert_equal(found.params, original.params)
    assert restore(copied, step=10).step == 10
    with pytest.raises(UserError, match="is the checkpoint at step 10, but step 20 was requested"):
        restore(copied, step=20)
    student = restore(copied, weights="student").params["backbone"]
    assert_equal(open_backbone(copied, weights="student").params, student)
    assert not np.array_equal(student["norm"]["bias"], original.params["norm"]["bias"])
    parts = restore_parts(copied, ["student", "teacher", "center"])
    assert set(parts.state) == {"student", "teacher", "center"} and parts.step == 10
    largest = max(jax.tree.leaves(original.params), key=lambda x: x.size)
    data = np.asarray(largest).tobytes()
    (file,) = [file for file in data_files(copied) if data in file.read_bytes()]
    file.write_bytes(file.read_bytes().replace(data, bytes([data[0] ^ 4]) + data[1:]))
    with pytest.raises(
        UserError, match=r"best is damaged \(teacher/backbone/.*: differs from what was saved"
    ):
        open_backbone(copied)
    truncate(file)
    with pytest.raises(
        UserError, match="best is damaged .*: give another checkpoint, or the run's workdir"
    ):
        open_backbone(copied)


def test_a_damaged_step_is_compared_and_its_folder_says_what_is_meant(run):
    (run / "damaged").mkdir()
    shutil.move(run / "checkpoints" / "20", run / "damaged" / "20")
    assert open_backbone(run / "damaged" / "20").step == 20  # as what is read of it is whole
    for file in data_files(run / "damaged" / "20"):
        truncate(file)
    with pytest.raises(UserError, match=r"damaged/20 is damaged \("):
        open_backbone(run / "damaged" / "20")
    with pytest.raises(
        UserError, match=f"for damaged checkpoints of a run: give the run's workdir, {run}$"
    ):
        open_backbone(run / "damaged")


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("checkpoints/best", r"best does not exist: give the run's workdir, .*/run, or one of its"),
        ("checkpoints/010", "010 does not exist: give the run's workdir"),
        ("checkpoints/１０", "does not exist: give the run's workdir"),
        ("checkpoints/10/stat", "stat does not exist: give the run's workdir"),
        ("checkpoints/15", "contains no checkpoint 15: it has 10, 20"),
        ("checkpoints/30.orbax-checkpoint-tmp-7", "not saved completely: give the run's workdir"),
        ("checkpoints/10.removed/state", "not saved completely: give the run's workdir"),
        ("config.json", "is only a part of a run: give the run's workdir, .*/run$"),
        ("metrics.jsonl", "is only a part of a run: give the run's workdir, .*/run$"),
        ("tensorboard", "is only a part of a run: give the run's workdir, .*/run$"),
        ("nothing", "nothing does not exist"),
    ],
)
def test_what_means_no_checkpoint_says_which_path_does(run, inside, message):
    (run / "tensorboard").mkdir(exist_ok=True)
    (run / "checkpoints" / "30.orbax-checkpoint-tmp-7").mkdir()
    (run / "checkpoints" / "10.removed" / "state").mkdir(parents=True)
    with pytest.raises(UserError, match=message) as error:
        open_backbone(run / inside)
    assert "\n" not in str(error.value)


def test_a_folder_of_runs_says_which_it_holds(run, tmp_path):
    for open_run in (open_backbone, restore):
        with pytest.raises(UserError, match=f"contains such workdirs: give one of {run}$"):
            open_run(tmp_path)
    shutil.copytree(run, tmp_path / "another")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=f"give one of {tmp_path}/another, {run}$"):
        open_backbone(tmp_path)


def test_a_run_without_its_config_says_which_checkpoints_it_holds(run):
    for step in (5, 20):
        shutil.copytree(
            run / "checkpoints" / "10", run / "checkpoints" / str(step), dirs_exist_ok=True
        )
    (run / "config.json").unlink()
    steps = ", ".join(f"{run}/checkpoints/{step}" for step in (5, 10, 20))
    for path in (run, run / "checkpoints"):
        with pytest.raises(
            UserError, match=f"has no config.json of a run, .* give one of {steps}$"
        ):
            open_backbone(path)
    assert open_backbone(run / "checkpoints" / "10").step == 10


@pytest.mark.parametrize("place", ["other/checkpoints/14", "other/checkpoints", "damaged/3"])
def test_weights_are_read_wherever_they_are(tmp_path, place):
    assert open_backbone(weights(tmp_path / place)).origin.count("weights, in the layout") == 1


@pytest.mark.parametrize("place", ["checkpoints/14", "exported", "checkpoints/mine"])
def test_weights_in_a_run_are_weights(run, place):
    folder = weights(run / place)
    for path in (folder, folder / "model.safetensors"):
        found = open_backbone(path)
        assert "weights, in the layout" in found.origin and found.workdir is None
    assert open_backbone(run).step == 20


def test_restore_takes_what_open_backbone_takes(run_folder, tmp_path):
    assert restore(run_folder / "checkpoints" / "10").step == 10
    assert restore(run_folder / "checkpoints", step=10).step == 10
    with pytest.raises(UserError, match="is not the workdir of a run"):
        restore(tmp_path)
    with pytest.raises(UserError, match="has no weights 'ema': choose --weights=teacher or"):
        restore(run_folder, weights="ema")
    with pytest.raises(UserError, match="has no weights 'ema'"):
        open_backbone(run_folder, weights="ema")


@pytest.mark.parametrize("name", ["a b", "100%", "q'\"`$", "new\nline", "naïve"])
def test_a_run_is_read_whatever_its_workdir_is_called(run, name):
    found = open_backbone(run.rename(run.with_name(name)))
    assert found.step == 20 and found.origin.isprintable()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b\udce9d", r"b\\udce9d.* is not valid UTF-8"),
        ("a\\b", r"a.b.* contains a backslash"),
    ],
)
def test_a_name_that_checkpoints_cannot_be_read_by_is_told(
    run, tmp_path, monkeypatch, name, message
):
    odd = run.rename(run.with_name(name))
    monkeypatch.chdir(odd)
    (tmp_path / "link").symlink_to(odd)
    for path in (odd, odd / "checkpoints" / "10", "checkpoints", tmp_path / "link"):
        with pytest.raises(UserError, match=message):
            open_backbone(path)
