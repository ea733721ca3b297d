"""Checkpoints that are never removed: those with a file kept.txt, which states the reason.

A checkpoint that one start kept as the best or for good gets such a file if the settings of the
next start would not keep it: another metric, other evaluation images or another interval. Users may
add or delete such files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from rats_jax.errors import UserError
from rats_jax.runs.checkpoints.best_metric import BestMetric
from rats_jax.runs.checkpoints.retention import Rules, best, periodic, staying

KEPT = "kept.txt"
BEST = "the best checkpoint by {metric} in the previous configuration of the run"
FOR_GOOD = "kept by the previous value of config.run.keep_every_epochs"


class RulesChanged(NamedTuple):
    """The effect of changed rules on the checkpoints of earlier starts. kept: steps that are kept
    all the same. left: steps that are removed at the next save."""

    kept: list[int]
    left: list[int]


def keep_those_of(
    was: Rules, now: Rules, folder: Path, steps: Sequence[int], *, rejudged: bool
) -> RulesChanged:
    """Marks checkpoints that `was` kept for good or as the best and `now` does not. Checkpoints are
    removed only if the same rule now has a lower number.

    folder, steps: of the checkpoints. rejudged: whether values of the metric are not comparable
    with the earlier ones. All processes return the same result, and process 0 writes.
    """
    known = marked(folder, steps)
    judged = BestMetric(folder, metric=was.metric, highest=was.highest).values(steps).get
    comparable = not rejudged and (was.metric, was.highest) == (now.metric, now.highest)
    reasons = {} if comparable and now.best else dict.fromkeys(best(steps, judged, was), BEST)
    reasons |= dict.fromkeys(periodic(steps, was), FOR_GOOD)
    kept = sorted(reasons.keys() - periodic(steps, now) - known)
    if jax.process_index() == 0:
        for step in kept:
            _mark(folder / str(step), reasons[step].format(metric=was.metric))
    left = staying(steps, judged, was) - staying(steps, judged, now) - known - set(kept)
    return RulesChanged(kept, sorted(left))


def marked(folder: Path, steps: Sequence[int]) -> set[int]:
    """The steps that are never removed."""
    return {step for step in steps if (folder / str(step) / KEPT).exists()}


def _mark(checkpoint: Path, reason: str) -> None:
    try:
        (checkpoint / KEPT).write_text(
            f"{reason}; if this file is deleted, the run may remove this checkpoint\n", "utf-8"
        )
    except OSError as error:
        raise UserError(
            f"{checkpoint / KEPT}, which keeps this checkpoint, cannot be written "
            f"({error.strerror}): free some space or make the folder writable, and start again"
        ) from None
