"""The picture of a run's dynamics: whole, whatever the run has measured, and never its end."""

import json
from pathlib import Path

import pytest
from PIL import Image

from rats_jax.runs.dynamics import _best, _panels, draw, redraw

PARTS = {"parts/m2o_6": [0.2, 0.31, 0.27], "parts/m2o_12": [0.3, 0.35, 0.4]}
RUN = {"keep_best": 1, "best_metric": "parts/m2o_6", "best_is": "highest"}


def lines(measured: dict) -> list[dict]:
    rows = [{"step": step, "epoch": step / 10, "loss": 5 - step / 50} for step in (5, 10, 15)]
    for i, step in enumerate((0, 10, 20)):
        values = {name: of[i] for name, of in measured.items()}
        rows.append({"step": step, "epoch": step / 10, **values})
    return sorted(rows, key=lambda row: row["step"])


@pytest.fixture
def workdir(tmp_path) -> Path:
    rows = lines(PARTS | {"registers/distinct": [7.5, 7.0, None]})
    text = "\n".join(map(json.dumps, rows)) + '\n{"step": 25, "lo'
    (tmp_path / "metrics.jsonl").write_text(text)
    events = [{"event": "started"}, {"event": "evaluation", "grid": {"parts/m2o_6": 0.25}}]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, events)) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"run": RUN}))
    return tmp_path


def test_it_is_drawn_whole_and_drawn_over(workdir):
    for _ in range(2):
        with Image.open(draw(workdir)) as image:
            image.load()
            assert min(image.size) > 300
    assert not list(workdir.glob("*.new*"))


def test_what_was_measured_has_a_panel_with_the_grid_beside_it():
    panels = {p.title: p for p in _panels(lines(PARTS), {"parts/m2o_6": 0.25})}
    assert list(panels) == ["M2O", "training, nats"]
    found = [(line.label, line.grid) for line in panels["M2O"].lines]
    assert found == [("K = 6", 0.25), ("K = 12", None)]
    names = ("knn/top1_20", "registers/dead", "registers/distinct")
    titles = [p.title for p in _panels(lines(dict.fromkeys(names, [0, 0, 0])), {})]
    assert titles[:3] == ["k-NN top-1", "distinct registers", "registers, means"]


def test_the_best_is_that_of_a_step_that_is_saved():
    rows = lines({"parts/m2o_6": [0.4, 0.3, 0.3]})
    assert _best(rows, RUN)[1:] == (20, 2.0, 0.3)  # of equal ones the later; step 0 is never saved
    assert _best(rows, RUN | {"best_is": "lowest"}).step == 20
    assert _best(rows, RUN | {"keep_best": 0}) is None
    assert _best(rows, RUN | {"best_metric": "knn/top1_20"}) is None


def test_a_picture_that_cannot_be_drawn_is_said_and_ends_nothing(workdir, capsys):
    before = draw(workdir).read_bytes()
    (workdir / "metrics.jsonl").write_text('{"step": 1, "parts/m2o_six": 0.5, "epoch": 0.1}\n')
    redraw(workdir)
    assert "warning: " in capsys.readouterr().out
    assert (workdir / "dynamics.png").read_bytes() == before
