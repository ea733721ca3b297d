"""The rules that decide which checkpoints are kept."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from ml_collections import ConfigDict

from rats_jax.errors import UserError
from rats_jax.runs.method import Schedules
from rats_jax.runs.metric_names import OF_REPORTS, is_of_evaluation

Value = Callable[[int], float | None]


class Rules(NamedTuple):
    """newest: the number of newest checkpoints to keep. every: the first checkpoint at or after
    each multiple of this number of steps is kept for good; 0 for none. best: the number of best
    checkpoints to keep by `metric`. highest: whether the highest value is the best."""

    newest: int
    every: int
    best: int
    metric: str
    highest: bool


def rules_of(config: ConfigDict, schedules: Schedules) -> Rules:
    """The rules of a run. Raises UserError for a metric that no report or evaluation has."""
    run, every = config.run, config.run.get("keep_every_epochs", 0.0)
    metric = run.best_metric
    if run.keep_best and not is_of_evaluation(metric) and metric not in OF_REPORTS:
        raise UserError(
            f"config.run.best_metric is {metric!r}, which no report contains: choose one of "
            f"{', '.join(OF_REPORTS)}"
        )
    return Rules(
        newest=run.keep_checkpoints,
        every=max(round(every * schedules.steps_per_epoch), 1) if every else 0,
        best=run.keep_best,
        metric=metric,
        highest=run.best_is == "highest",
    )


def staying(steps: Sequence[int], value: Value, rules: Rules) -> set[int]:
    """The subset of the ascending `steps` that at least one rule keeps."""
    newest = set(steps[-rules.newest :])
    return newest | periodic(steps, rules) | best(steps, value, rules)


def periodic(steps: Sequence[int], rules: Rules) -> set[int]:
    """The steps that are kept for good."""
    if not rules.every:
        return set()
    periods = [0, *(step // rules.every for step in steps)]
    begins = (a != b for a, b in pairwise(periods))
    return {step for step, first in zip(steps, begins, strict=True) if first}


def best(steps: Sequence[int], value: Value, rules: Rules) -> set[int]:
    """The best steps by `value`; later steps win ties, and steps without a value never count."""
    known = [step for step in steps if value(step) is not None]
    ranked = sorted(known, key=partial(rank, value=value, highest=rules.highest))
    return set(ranked[-rules.best :]) if rules.best else set()


def rank(step: int, *, value: Value, highest: bool) -> tuple[bool, float, int]:
    """A sort key, larger for better: later steps win ties, steps without a value are worst."""
    known = value(step)
    return known is not None, (known or 0.0) * (1 if highest else -1), step
