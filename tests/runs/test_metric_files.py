"""The files of a run's metrics, without a run."""

import json

import numpy as np
from ml_collections import ConfigDict

from rats_jax.runs.metric_files import MetricFiles
from tests.runs.event_files import events, pictures, scalars


def test_scalars_are_in_both_files_and_pictures_in_the_events(tmp_path):
    files = MetricFiles(tmp_path, start=0)
    files.write_scalars(2, {"loss": 1.5, "kl": float("nan")})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()  # at once, before it is closed
    row = json.loads(line)
    assert row.pop("time") and row == {"step": 2, "loss": 1.5, "kl": None}
    files.write_pictures(3, {"parts": np.zeros((1, 4, 6, 3), np.uint8)})
    files.describe_start(ConfigDict({"run": {"log_every": 2}}), {"mesh": "1 device"}, step=0)
    files.close()
    written = events(tmp_path / "tensorboard")
    assert [steps for steps in scalars(written).values()] == [[2]]
    assert {*pictures(written)} == {(3, "parts")}
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_without_a_workdir_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = MetricFiles(None, start=0)
    files.write_scalars(2, {"loss": 1.5})
    files.write_pictures(2, {"parts": np.zeros((1, 4, 6, 3), np.uint8)})
    files.describe_start(ConfigDict(), {}, step=0)
    files.close()
    assert not list(tmp_path.iterdir())


def test_a_start_from_the_beginning_forgets_the_evaluation_before_it(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 0, "parts/m2o_2": 0.1}\n{"step": 5}\n')
    MetricFiles(tmp_path, start=5).close()
    assert len(file.read_text().splitlines()) == 2
    MetricFiles(tmp_path, start=0).close()
    assert file.read_text() == ""
    old = tmp_path / "metrics.old.jsonl"
    assert len(old.read_text().splitlines()) == 2
    file.write_text('{"step": 1}\n')
    MetricFiles(tmp_path, start=0).close()
    assert len(old.read_text().splitlines()) == 2 and file.read_text() == ""
