"""The last lines of a run: scores below a baseline, its checkpoints, and the next command."""

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from rats_jax.paths import printable
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.events import Events
from rats_jax.runs.history import pieces, read_lines
from rats_jax.runs.method import Schedules
from rats_jax.runs.metric_names import SCORES, display_name, formatted, is_score
from rats_jax.runs.online.data import headline
from rats_jax.voice import say

MANY = 8  # checkpoints: if there are more, only the first and the last are listed


#: What step 0 is called in a run from random weights, and in a run from given weights.
UNTRAINED, GIVEN = "the untrained model", "the weights that it started from"


class Below(NamedTuple):
    """A score that ended below a baseline that needs no training. Scores are fractions.

    untrained, grid: the baseline; None if the score is not below it or it was not measured. best:
    step and value of the best evaluation.
    """

    metric: str
    value: float
    untrained: float | None
    grid: float | None
    best: tuple[int, float]


def ended_below(workdir: Path, step: int) -> list[Below]:
    """The scores measured after the last step that are below a plain grid or below the untrained
    model, if that was scored on the same measure."""
    rows, events = (read_lines(workdir / f"{name}.jsonl") for name in ("metrics", "events"))
    found = []
    for metric in sorted(rows[-1]) if rows and rows[-1].get("step") == step else ():
        if not is_score(metric) or rows[-1][metric] is None:
            continue
        piece = pieces(metric, rows, events)[-1]
        first, last = piece.points[0], piece.points[-1]
        best = max(piece.points, key=lambda point: (point.value, point.step))
        untrained = None
        if first.step == 0 and _below(metric, last.value, first.value):
            untrained = first.value
        grid = None
        if piece.grid is not None and _below(metric, last.value, piece.grid):
            grid = piece.grid
        if untrained is not None or grid is not None:
            found.append(Below(metric, last.value, untrained, grid, (best.step, best.value)))
    return found


def _below(metric: str, value: float, other: float) -> bool:
    """Compares the values as printed."""
    return value < other and formatted(metric, value) != formatted(metric, other)


def below_lines(
    found: Sequence[Below],
    kept: Collection[int],
    *,
    step: int,
    best_metric: str,
    first: str = UNTRAINED,
) -> list[str]:
    """One line for each score, at the headline number of regions; the other numbers are listed.

    kept: the steps that have a checkpoint. first: what step 0 is called.
    """
    lines = []
    for score in SCORES:
        of_score = {
            int(number): below
            for below in found
            for name, _, number in (below.metric.rpartition("_"),)
            if name == score
        }
        if not of_score:
            continue
        k = headline(tuple(sorted(of_score)), best_metric)
        line = _line(of_score.pop(k), kept, step=step, first=first)
        others = ", ".join(map(str, sorted(of_score)))
        lines.append(f"{line}; the same at K = {others}" if others else line)
    return lines


def _line(below: Below, kept: Collection[int], *, step: int, first: str) -> str:
    metric, than = below.metric, []
    if below.untrained is not None:
        than.append(f"{first} ({formatted(metric, below.untrained)})")
    if below.grid is not None:
        than.append(f"a plain grid ({formatted(metric, below.grid)})")
    value, (best_step, best) = formatted(metric, below.value), below.best
    if best_step == 0:
        end = f"no step was better than {first}"
    elif best_step == step or formatted(metric, best) == value:
        end = "no step was better"
    else:
        there = "is kept"
        if best_step not in kept:
            there = f"was not kept (config.run.keep_best, best_metric={metric})"
        end = f"best at step {best_step:,} ({formatted(metric, best)}), whose checkpoint {there}"
    return f"{display_name(metric)} ended at {value}, below {' and '.join(than)}; {end}"


def say_end(
    workdir: Path,
    config: ConfigDict,
    checkpoints: Checkpoints,
    events: Events,
    *,
    step: int,
    steps: int,
) -> None:
    """Prints the last lines of a run that ends at `step` of `steps`."""
    saved, best = checkpoints.steps(), None
    if config.run.keep_best:
        best = checkpoints.best()
    if jax.process_index() == 0:
        found = ended_below(workdir, step)
        for below in found:
            events.add("ended_below", step=step, **below._asdict())
        starts = (e for e in read_lines(workdir / "events.jsonl") if e["event"] == "started")
        first = GIVEN if "weights" in next(starts, {}) else UNTRAINED
        metric = config.run.best_metric
        for line in below_lines(found, saved, step=step, best_metric=metric, first=first):
            say(f"warning: {line}")
    say(checkpoint_line(workdir, saved, best and (config.run.best_metric, *best)))
    if step < steps:
        say(
            f"stopped at step {step:,} of {steps:,}, as set by config.run.stop_after: run the "
            "same command with a larger value, or 0, to continue"
        )


def nothing_to_do(config: ConfigDict, schedules: Schedules, start: int) -> str:
    """The line for a start whose checkpoint is at or beyond the step where it should end."""
    if start < schedules.steps:
        return (
            f"already at step {start:,}, and config.run.stop_after is {config.run.stop_after:,}: "
            "nothing to do; raise it, or set it to 0 for the whole run"
        )
    end = "the run ends there"
    if start > schedules.steps:
        end = f"the run now ends at step {schedules.steps:,}"
    optimizer = config.optimizer
    length = f"epochs={optimizer.epochs:g}" if "epochs" in optimizer else f"steps={optimizer.steps}"
    return (
        f"already at step {start:,}, and {end} (config.optimizer.{length}): nothing to do; raise "
        f"the {length.partition('=')[0]} to train longer"
    )


def checkpoint_line(
    workdir: Path, steps: Sequence[int], best: tuple[str, int, float] | None
) -> str:
    """Lists the checkpoints. best: metric, step and value of the best one that is kept."""
    what = "checkpoints at steps" if len(steps) > 1 else "a checkpoint at step"
    numbers = [*map(str, steps)]
    if len(numbers) > MANY:
        numbers[2 : 3 - MANY] = ["..."]
    line = f"{what} {', '.join(numbers)} in {printable(str(workdir / 'checkpoints'))}"
    if best:
        metric, step, value = best
        line += f"; the best by {display_name(metric)} is step {step}: {formatted(metric, value)}"
    return line


def next_line(workdir: Path) -> str:
    """The commands to use after a run has finished."""
    run, python = shlex.quote(str(workdir)), shlex.quote(sys.executable)
    return (
        f"next: {python} -m rats_jax.visualize --checkpoint={run} --images=FOLDER --output=DIR "
        "draws the parts that it finds; rats_jax.evaluate scores them, and rats_jax.export writes "
        "the weights for other programs"
    )
