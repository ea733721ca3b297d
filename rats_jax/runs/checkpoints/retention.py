"""Which checkpoints stay."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from ml_collections import ConfigDict

from rats_jax.dino.schedules import Schedules
from rats_jax.errors import UserError
from rats_jax.runs.metric_names import OF_REPORTS, is_of_evaluation

Value = Callable[[int], float | None]


class Rules(NamedTuple):
    """newest: how many of the newest stay. every: the first at or after each multiple of so many
    steps stays for good; 0 for none. best: how many of the best by `metric` stay. highest: whether
    that is the best."""

    newest: int
    every: int
    best: int
    metric: str
    highest: bool


def rules_of(config: ConfigDict, schedules: Schedules) -> Rules:
    """Those of a run. Raises UserError for a metric that no report or evaluation has."""
    run, every = config.run, config.run.keep_every_epochs
    metric = run.best_metric
    if run.keep_best and not is_of_evaluation(metric) and metric not in OF_REPORTS:
        raise UserError(
            f"config.run.best_metric is {metric!r}: a report has {', '.join(OF_REPORTS)}"
        )
    return Rules(
        newest=run.keep_checkpoints,
        every=max(round(every * schedules.steps_per_epoch), 1) if every else 0,
        best=run.keep_best,
        metric=metric,
        highest=run.best_is == "highest",
    )


def staying(steps: Sequence[int], value: Value, rules: Rules) -> set[int]:
    """Those of the rising `steps` that one of the rules keeps."""
    newest = set(steps[-rules.newest :])
    return newest | periodic(steps, rules) | best(steps, value, rules)


def periodic(steps: Sequence[int], rules: Rules) -> set[int]:
    """Those that stay for good."""
    if not rules.every:
        return set()
    periods = [0, *(step // rules.every for step in steps)]
    begins = (a != b for a, b in pairwise(periods))
    return {step for step, first in zip(steps, begins, strict=True) if first}


def best(steps: Sequence[int], value: Value, rules: Rules) -> set[int]:
    """The best by `value`, of equal ones the later, and never one that is None."""
    known = [step for step in steps if value(step) is not None]
    ranked = sorted(known, key=partial(rank, value=value, highest=rules.highest))
    return set(ranked[-rules.best :]) if rules.best else set()


def rank(step: int, *, value: Value, highest: bool) -> tuple[bool, float, int]:
    """Larger for better: by the value, of equal ones the later; those without one come last."""
    known = value(step)
    return known is not None, (known or 0.0) * (1 if highest else -1), step
