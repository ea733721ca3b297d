"""The last lines of a run say what did not work, what is there and what comes next."""

import json
import shlex
import sys
from pathlib import Path

from rats_jax.config import schedules
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.ending import (
    GIVEN,
    Below,
    below_lines,
    checkpoint_line,
    ended_below,
    next_line,
    nothing_to_do,
    say_end,
)
from rats_jax.runs.events import Events
from tests.runs.checkpoints.checkpoints import make_state
from tests.runs.tiny import tiny_config

#: Of step 0, 50 and 100.
MEASURED = {
    "parts/m2o_6": (0.30, 0.32, 0.31),  # above the untrained model and the grid
    "parts/m2o_12": (0.270, 0.281, 0.266),  # below both; better in between
    "parts/m2o_33": (0.40, 0.38, 0.36),  # below the untrained model
    "parts/ari_12": (0.10, 0.08, 0.12),  # below the grid alone, the best at the end
    "knn/top1_20": (0.25, 0.20, 0.20),  # no grid
    "registers/distinct": (9.0, 8.0, 7.0),  # no score
}
GRID = {"parts/m2o_6": 0.30, "parts/m2o_12": 0.269, "parts/m2o_33": 0.1, "parts/ari_12": 0.13}


def history(workdir: Path, measured=MEASURED, events=()) -> None:
    rows = [
        {"step": step, "epoch": step / 10, **{name: of[i] for name, of in measured.items()}}
        for i, step in enumerate((0, 50, 100))
    ]
    rows.insert(1, {"step": 20, "epoch": 2, "loss": 3.0})
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [
        {"event": "started", "step": 0},
        {"event": "evaluation", "step": 0, "parts": {"images": 9}, "knn": {}, "grid": GRID},
        *events,
    ]
    (workdir / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_scores_that_ended_below_the_untrained_model_or_a_grid_are_found(tmp_path):
    history(tmp_path)
    found = {below.metric: below[1:] for below in ended_below(tmp_path, 100)}
    assert found == {
        "parts/m2o_12": (0.266, 0.270, 0.269, (50, 0.281)),
        "parts/m2o_33": (0.36, 0.40, None, (0, 0.40)),
        "parts/ari_12": (0.12, None, 0.13, (100, 0.12)),
        "knn/top1_20": (0.20, 0.25, None, (0, 0.25)),
    }
    assert ended_below(tmp_path, 120) == []  # no evaluation after the last step


def test_of_equal_scores_the_later_is_the_best_as_for_checkpoints(tmp_path):
    found = [Below("parts/m2o_4", 0.193, None, 0.224, (11, 0.1934))]
    (line,) = below_lines(found, {11}, step=20, best_metric="parts/m2o_4")
    assert line.endswith("below a plain grid (22.4 %); no step was better")
    history(tmp_path, {"parts/m2o_12": (0.2, 0.2, 0.1)})
    assert {below.best[0] for below in ended_below(tmp_path, 100)} == {50}


def test_scores_on_other_images_are_not_compared(tmp_path):
    again = {"event": "continued", "step": 50}
    other = {"event": "evaluation", "step": 100, "parts": {"images": 5}, "grid": {}, "knn": {}}
    history(tmp_path, events=[again, other])
    assert [below.metric for below in ended_below(tmp_path, 100)] == ["knn/top1_20"]


def test_there_is_a_line_for_each_score_with_the_best_step(tmp_path):
    history(tmp_path)
    found = ended_below(tmp_path, 100)
    assert below_lines(found, {50, 100}, step=100, best_metric="loss") == [
        "M2O (K = 12) ended at 26.6 %, below the untrained model (27.0 %) and a plain grid "
        "(26.9 %); best at step 50 (28.1 %), whose checkpoint is kept; the same at K = 33",
        "ARI (K = 12) ended at 12.0 %, below a plain grid (13.0 %); no step was better",
        "k-NN top-1 (k = 20) ended at 20.0 %, below the untrained model (25.0 %); no step was "
        "better than the untrained model",
    ]
    given = below_lines(found, {100}, step=100, best_metric="loss", first=GIVEN)
    assert "below the weights that it started from (27.0 %) and a plain grid" in given[0]
    first = below_lines(found, {100}, step=100, best_metric="parts/m2o_33")[0]
    assert first.startswith("M2O (K = 33)") and first.endswith("; the same at K = 12")
    first = below_lines(found, {100}, step=100, best_metric="parts/o2o_12")[0]
    assert "whose checkpoint was not kept (config.run.keep_best, best_metric=parts/m2o_12)" in first


def test_a_run_that_improved_has_no_such_line(tmp_path):
    history(tmp_path, measured={"parts/m2o_6": (0.30, 0.32, 0.31)})
    assert ended_below(tmp_path, 100) == []
    history(tmp_path, measured={"parts/m2o_6": (0.3002, 0.32, 0.2999)})  # both are 30.0 %
    assert ended_below(tmp_path, 100) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 100, "parts/m2o_6": null, "lo')
    assert ended_below(tmp_path, 100) == []
    (tmp_path / "metrics.jsonl").unlink()
    assert ended_below(tmp_path, 100) == []


def test_the_end_is_said_and_noted(tmp_path, capsys):
    history(tmp_path)
    config = tiny_config(evaluation__every_epochs=1.0, run__keep_best=1)
    config.run.update(best_metric="parts/m2o_12", best_is="highest", stop_after=100)
    settings = {"keep_best": 1, "best_metric": "parts/m2o_12", "best_is": "highest"}
    with Checkpoints(tmp_path, keep=1, **settings) as checkpoints:
        for step, value in ((50, 0.281), (100, 0.266)):
            about = {"evaluation": {"parts": {"images": 9}}}
            checkpoints.save(step, make_state(step), about=about, metrics={"parts/m2o_12": value})
        checkpoints.finish()
        say_end(tmp_path, config, checkpoints, Events(tmp_path), step=100, steps=200)
    *warnings, kept, stopped = capsys.readouterr().out.splitlines()
    assert [line.split(" ended")[0] for line in warnings] == [
        "warning: M2O (K = 12)",
        "warning: ARI (K = 12)",
        "warning: k-NN top-1 (k = 20)",
    ]
    assert kept == (
        f"checkpoints at steps 50, 100 in {tmp_path}/checkpoints; the best by M2O (K = 12) is "
        "step 50: 28.1 %"
    )
    assert stopped.startswith("stopped at step 100 of 200, as set by config.run.stop_after")
    lines = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    noted = [event for event in lines if event["event"] == "ended_below"]
    assert {event["metric"] for event in noted} == {
        *("parts/m2o_12", "parts/m2o_33", "parts/ari_12", "knn/top1_20")
    }
    assert noted[0].keys() >= {"value", "untrained", "grid", "best"}


def test_many_checkpoints_are_not_all_named(tmp_path):
    line = checkpoint_line(tmp_path, range(10, 400, 10), None)
    assert "steps 10, 20, ..., 350, 360, 370, 380, 390 in" in line
    assert "a checkpoint at step 7 in" in checkpoint_line(tmp_path, [7], None)


def test_the_next_command_takes_the_folder_as_it_is(tmp_path):
    line = next_line(Path("/runs/my run"))
    assert line.startswith(f"next: {shlex.quote(sys.executable)} -m rats_jax.visualize ")
    assert "--checkpoint='/runs/my run' --images" in line


def test_nothing_to_do_says_why():
    config = tiny_config()
    assert "already at step 40, and the run ends there (config.optimizer.epochs=8): " in (
        nothing_to_do(config, schedules(config, images=40), 40)
    )
    config.run.stop_after = 10
    assert "at step 20, and config.run.stop_after is 10: nothing to do; raise it" in (
        nothing_to_do(config, schedules(config, images=40), 20)
    )
