"""Whole runs: what they leave behind, that they repeat to the bit, and that they go on."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.runs import observer
from rats_jax.runs.loop import train
from rats_jax.runs.metric_names import GROUPS, tag
from rats_jax.runs.restore import restore
from rats_jax.runs.workdir import open_workdir
from tests.runs.event_files import events, scalars, texts
from tests.runs.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("same_programs")

#: Wall-clock measurements: the only metrics that two equal runs may differ in.
TIMES = {"time", "images_per_second", "input_wait", "seconds_left"}


def metrics(workdir: Path) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


@pytest.fixture(scope="module")
def whole_run(same_programs, tmp_path_factory) -> Path:
    return train(tiny_config(), str(tmp_path_factory.mktemp("whole")))


def test_a_run_leaves_metrics_events_checkpoint_and_config(whole_run):
    rows = metrics(whole_run)
    assert [row["step"] for row in rows] == list(range(1, 41))
    expected = {"loss", "teacher_entropy", "kl", "center_norm", "learning_rate", "epoch"}
    assert expected <= set(rows[0])
    assert all(np.isfinite(row["loss"]) for row in rows)
    raw = json.loads((whole_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert raw["images_per_second"] > 0 and 0 <= raw["input_wait"] <= 1
    assert [p.name for p in (whole_run / "checkpoints").iterdir()] == ["40"]
    assert json.loads((whole_run / "config.json").read_text())["model"]["width"] == 24


def test_tensorboard_has_the_same_in_groups_and_the_config(whole_run):
    written = events(whole_run / "tensorboard")
    reported = json.loads((whole_run / "metrics.jsonl").read_text().splitlines()[-1])
    names = reported.keys() - {"step", "time"}
    assert scalars(written).keys() == {tag(name) for name in names}
    assert {tag(name).split("/")[0] for name in names} == GROUPS.keys() - {"dictionary"}
    assert {*scalars(written)} >= {"loss/kl", "schedule/learning_rate", "input/input_wait"}
    assert scalars(written)["loss/loss"] == list(range(1, 41))
    found = texts(written)
    config = found[0, "config/text_summary"]
    assert "    model.width = 24\n" in config and "    crops.local_scale = [0.05, 0.25]" in config
    assert "    images = 40\n" in found[0, "run/text_summary"]


def test_a_metric_of_no_group_has_one():
    assert (tag("new"), tag("parts/m2o_8")) == ("other/new", "parts/m2o_8")


def test_the_same_seed_gives_the_same_losses_to_the_last_bit(whole_run, tmp_path):
    again = train(tiny_config(run__stop_after=10), str(tmp_path / "again"))
    assert metrics(again) == metrics(whole_run)[:10]


def test_another_seed_gives_other_losses(whole_run, tmp_path):
    config = tiny_config(run__stop_after=2)
    config.seed = 1
    other = train(config, str(tmp_path / "other"))
    assert metrics(other)[0]["loss"] != metrics(whole_run)[0]["loss"]


def test_stopped_at_20_of_40_and_started_again_is_the_uninterrupted_run(whole_run, tmp_path):
    workdir = tmp_path / "resumed"
    train(tiny_config(run__stop_after=20), str(workdir))
    assert len(metrics(workdir)) == 20
    train(tiny_config(), str(workdir))
    assert metrics(workdir) == metrics(whole_run)
    whole, resumed = (restore(w, weights="student") for w in (whole_run, workdir))
    assert whole.step == resumed.step == 40
    _equal_trees(whole.params, resumed.params)


def _equal_trees(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            _equal_trees(a[name], b[name])
    else:
        np.testing.assert_array_equal(a, b)


def test_a_finished_run_started_again_has_nothing_to_do(whole_run, capsys):
    before = (whole_run / "metrics.jsonl").read_bytes()
    train(tiny_config(), str(whole_run))
    assert "nothing to do" in capsys.readouterr().out
    assert (whole_run / "metrics.jsonl").read_bytes() == before


def test_a_workdir_of_another_model_is_refused_and_left_as_it_is(whole_run, tmp_path):
    workdir = tmp_path / "copy"
    shutil.copytree(whole_run, workdir)
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"config\.model\.width is 24 there and 48 here"):
        train(tiny_config(model__width=48), str(workdir))
    assert (workdir / "config.json").read_bytes() == before


def test_a_run_older_than_a_field_is_continued_and_opened(whole_run, tmp_path, capsys):
    workdir = tmp_path / "copy"
    shutil.copytree(whole_run, workdir)
    stored = json.loads((workdir / "config.json").read_text())
    del stored["model"]["register_std"]
    (workdir / "config.json").write_text(json.dumps(stored))
    assert restore(workdir).config.model.register_std == 0.02
    with pytest.raises(
        UserError, match=r"config\.model\.register_std is 0\.02 there and 0\.2 here"
    ):
        train(tiny_config(model__register_std=0.2), str(workdir))
    train(tiny_config(), str(workdir))
    assert "config.model" not in capsys.readouterr().out


def test_fields_that_change_no_shape_may_change_and_are_named(whole_run, tmp_path, capsys):
    workdir = tmp_path / "copy"
    shutil.copytree(whole_run, workdir)
    train(tiny_config(model__drop_path=0.2), str(workdir))
    assert "config.model.drop_path was 0.1 and is 0.2 from now on" in capsys.readouterr().out


def folder_with_two_bad_files(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(15):
        noise = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:02}.jpg")
    (folder / "07.jpg").write_bytes(b"not a picture")
    (folder / "bad.png").write_bytes(b"")
    return folder


def test_unreadable_images_are_replaced_counted_and_listed(tmp_path, capsys):
    folder = folder_with_two_bad_files(tmp_path / "images")
    config = tiny_config(data__source="image_folder", data__path=str(folder), data__length=0)
    config.data.max_unreadable = 0.2
    config.optimizer.epochs = 4.0
    workdir = train(config, str(tmp_path / "run"))
    assert metrics(workdir)[-1]["unreadable_images"] == 2
    listed = dict(
        line.split("\t") for line in (workdir / "unreadable.txt").read_text().splitlines()
    )
    formats = "none of JPEG, PNG, WEBP, GIF, BMP, TIFF"
    reason = f"not an image: {formats}"
    assert listed == {"07.jpg": reason, "bad.png": f"an empty file: {formats}"}
    assert f"cannot read 07.jpg ({reason})" in capsys.readouterr().out


def test_more_unreadable_images_than_allowed_stop_the_run(tmp_path):
    folder = folder_with_two_bad_files(tmp_path / "images")
    config = tiny_config(data__source="image_folder", data__path=str(folder), data__length=0)
    config.data.max_unreadable = 0.1  # of 16
    config.optimizer.epochs = 4.0
    with pytest.raises(
        UserError, match=r"of the \d+ images drawn cannot be read, more than .*=0\.1 allows"
    ):
        train(config, str(tmp_path / "run"))
    assert len((tmp_path / "run" / "unreadable.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize("cropping", ["canvas", "exact"])
def test_every_way_of_cropping_trains_and_much_alike(whole_run, tmp_path, cropping):
    config = tiny_config(run__stop_after=2, data__cropping=cropping, data__canvas=16)
    other = train(config, str(tmp_path / "run"))
    # Two steps, of which the first has no learning rate: what follows amplifies any difference.
    losses, expected = ([row["loss"] for row in metrics(w)[:2]] for w in (other, whole_run))
    np.testing.assert_allclose(losses, expected, rtol=2e-3)


class Shades:
    """A source of one's own."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.full((20, 24, 3), 6 * index, np.uint8), 0


def test_a_source_of_ones_own_needs_no_config_of_the_data(tmp_path):
    config = tiny_config(data__source="image_folder", run__stop_after=2)
    assert len(metrics(train(config, str(tmp_path / "run"), source=Shades()))) == 2


def test_steps_that_are_not_finite_are_listed_with_their_images_and_stop_the_run(tmp_path, capsys):
    config = tiny_config(optimizer__learning_rate=1e30, optimizer__warmup_epochs=0.0)
    with pytest.raises(UserError, match="10 steps in a row were not applied, .* step 11:"):
        train(config, str(tmp_path / "run"))
    noted = [json.loads(x) for x in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    skipped = [event for event in noted if event["event"] == "skipped"]
    assert [event["step"] for event in skipped] == list(range(2, 12))
    assert [event["in_a_row"] for event in skipped] == list(range(1, 11))
    assert all(len(event["indices"]) == 8 for event in skipped)
    drawn = [i for event in skipped for i in event["indices"]]
    assert len(set(drawn[: 4 * 8])) == 32  # of the 40 images of an epoch
    assert "step 2 was not applied" in capsys.readouterr().out
    rows = metrics(tmp_path / "run")
    assert rows[-1]["skipped_steps"] >= 9 and rows[0]["skipped_steps"] == 0


def test_what_a_killed_run_reported_after_its_last_checkpoint_is_not_there_twice(
    whole_run, tmp_path
):
    workdir = tmp_path / "run"
    train(tiny_config(run__stop_after=4), str(workdir))
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 5, "loss": 0.0}) + "\n\0\0\0\n" + '{"step": 6, "lo')
    train(tiny_config(run__stop_after=6), str(workdir))
    assert metrics(workdir) == metrics(whole_run)[:6]


def test_a_second_run_on_a_workdir_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rats_jax.runs.workdir.ENDING_SECONDS", 0.1)
    config = tiny_config(run__stop_after=1)
    with (
        open_workdir(str(tmp_path), config),
        pytest.raises(UserError, match=rf"in use by another run \(process {os.getpid()} on "),
    ):
        train(config, str(tmp_path))
    train(config, str(tmp_path))


def test_a_best_metric_that_no_report_has_is_named(tmp_path):
    config = tiny_config(run__stop_after=2, run__keep_best=1, run__best_metric="los")
    with pytest.raises(
        UserError, match=r"best_metric is 'los', which no report contains: choose one of loss, "
    ):
        train(config, str(tmp_path / "new"))
    train(tiny_config(run__stop_after=1), str(tmp_path / "run"))
    before = files_of(tmp_path / "run")
    with pytest.raises(
        UserError, match=r"best_metric is 'los', which no report contains: choose one of loss, "
    ):
        train(config, str(tmp_path / "run"))
    assert files_of(tmp_path / "run") == before


def files_of(workdir: Path) -> dict[Path, bytes]:
    files = (file for file in workdir.rglob("*") if file.is_file() and file.name != ".started")
    return {file: file.read_bytes() for file in files}


def test_a_workdir_that_is_moved_while_the_run_trains_ends_it(tmp_path, monkeypatch):
    add = observer.Interval.add

    def move(progress, metrics):
        add(progress, metrics)
        if (tmp_path / "run").exists():
            (tmp_path / "run").rename(tmp_path / "moved")

    monkeypatch.setattr(observer.Interval, "add", move)
    with pytest.raises(UserError, match="run no longer has a config.json, so it was moved or"):
        train(tiny_config(run__stop_after=4), str(tmp_path / "run"))
    assert not list((tmp_path / "run").rglob("state"))


def test_checkpoints_of_epochs_are_kept_beside_the_newest(tmp_path):
    config = tiny_config(run__stop_after=18, run__checkpoint_every=4, run__keep_every_epochs=2.0)
    train(config, str(tmp_path))
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert kept == [10, 16, 18]
