"""The picture of a run's dynamics: whole, whatever the run has measured, and never its end."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from rats_jax.runs.dynamics import _draw_panel, _panels, _star, _title, draw, redraw
from rats_jax.runs.history import Piece, pieces

PARTS = {"parts/m2o_6": [0.2, 0.31, 0.27], "parts/m2o_12": [0.3, 0.35, 0.4]}
EVENTS = [
    {"event": "started", "step": 0},
    {"event": "evaluation", "step": 0, "parts": {"of": 9}, "grid": {"parts/m2o_6": 0.25}},
]
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
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, EVENTS)) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"run": RUN}))
    return tmp_path


def test_it_is_drawn_whole_and_drawn_over(workdir):
    for _ in range(2):
        with Image.open(draw(workdir, (10, 0.31))) as image:
            image.load()
            assert min(image.size) > 300
    assert not list(workdir.glob("*.new*"))


def test_what_was_measured_has_a_panel_with_the_grid_beside_it():
    panels = {p.title: p for p in _panels(lines(PARTS), EVENTS)}
    assert list(panels) == ["M2O", "training, nats"]
    found = [(line.label, [p.grid for p in line.pieces]) for line in panels["M2O"].lines]
    assert found == [("K = 6", [0.25]), ("K = 12", [None])]
    assert panels["M2O"].percent and not panels["training, nats"].percent
    names = ("knn/top1_20", "registers/dead", "registers/distinct")
    titles = [p.title for p in _panels(lines(dict.fromkeys(names, [0, 0, 0])), [])]
    assert titles[:3] == ["k-NN top-1", "distinct registers", "registers, means"]


def test_a_small_change_looks_small():
    rows = lines({"parts/m2o_6": [0.262, 0.270, 0.266], "registers/distinct": [6.9, 6.5, 6.4]})
    panels = {panel.title: panel for panel in _panels(rows, [])}
    low, high = spans(panels["M2O"])
    assert high - low == pytest.approx(5) and low < 26.2 < 27.0 < high
    low, high = spans(panels["distinct registers"])
    assert low == 0 and high > 6.9


def spans(panel) -> tuple[float, float]:
    axes = Figure().subplots()
    _draw_panel(axes, panel, None, 2)
    return axes.get_ylim()


def test_another_evaluation_breaks_the_curve_and_has_its_own_grid():
    other = {"event": "evaluation", "parts": {"of": 8}, "grid": {"parts/m2o_6": 0.3}}
    again = {"event": "continued", "step": 5}
    rows = lines(PARTS)
    whole = [(0, 0.0, 0.2), (10, 1.0, 0.31), (20, 2.0, 0.27)]
    cut = [*EVENTS, again, other | {"step": 10}]
    assert pieces("parts/m2o_6", rows, cut) == [Piece(whole[:1], 0.25), Piece(whole[1:], 0.3)]
    for alike in (
        [*EVENTS, again, EVENTS[1] | {"step": 10}],
        [*cut, again, EVENTS[1] | {"step": 10}],  # which the run went back on
        [EVENTS[0], other | {"step": 0}, *EVENTS],
    ):
        assert pieces("parts/m2o_6", rows, alike) == [Piece(whole, 0.25)]
    assert len(pieces("loss", rows, cut)) == 1
    rows = lines({"knn/top1_10": [0, 0, 0]})
    assert len(pieces("knn/top1_10", rows, cut)) == 1


@pytest.mark.parametrize(
    ("metric", "best_is", "value", "title"),
    [
        ("parts/m2o_6", "highest", 0.31, "r: best M2O (K = 6) 31.0 % at step 10, epoch 1"),
        ("parts/m2o_6", "highest", 0.1, "at step 10, epoch 1 (untrained 20.0 %)"),
        ("registers/dead", "lowest", 0.25, "best registers/dead 0.25 at step 10, epoch 1"),
        ("registers/dead", "lowest", 0.75, "at step 10, epoch 1 (untrained 0.5)"),
        ("loss", "lowest", 4.8, "r: best loss 4.8 at step 10, epoch 1"),
    ],
)
def test_the_title_says_which_is_the_best_and_whether_the_untrained_was_better(
    metric, best_is, value, title
):
    rows = lines(PARTS | {"registers/dead": [0.5, 0.25, 0.75]})
    run = {"best_metric": metric, "best_is": best_is}
    star = _star(_panels(rows, EVENTS), (10, value), rows, run)
    assert _title("r", star).endswith(title)
    assert _star(_panels(rows, EVENTS), None, rows, run) is None


def test_a_name_is_no_formula(workdir):
    """matplotlib takes what is between two dollar signs for one."""
    named = workdir.rename(workdir.with_name("$run\\_{\udce9$"))
    assert draw(named).exists()


def test_labels_stand_where_no_curve_is(workdir, monkeypatch):
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, to: (figures.append(self), save(self, to))[1]
    )
    draw(workdir)
    for axes in figures[0].axes:
        if legend := axes.get_legend():
            assert legend.get_window_extent().y1 <= axes.get_window_extent().y0


def test_a_picture_that_cannot_be_drawn_is_said_and_ends_nothing(workdir, capsys):
    before = draw(workdir).read_bytes()
    (workdir / "metrics.jsonl").write_text('{"step": 1, "parts/m2o_six": 0.5, "epoch": 0.1}\n')
    redraw(workdir, None)
    assert "warning: " in capsys.readouterr().out
    assert (workdir / "dynamics.png").read_bytes() == before
