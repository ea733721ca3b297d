"""The metric by which checkpoints are compared."""

import math
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from rats_jax.runs.checkpoints.retention import rank
from rats_jax.runs.checkpoints.stored_state import DamagedCheckpoint, read_meta
from rats_jax.runs.metric_names import is_of_evaluation, measured_on

_UNKNOWN = object()


class BestMetric:
    """What each checkpoint says of the metric. One of an evaluation is compared where
    about["evaluation"] is as in the newest, for other images give other figures.

    folder: of the checkpoints. highest: whether that is the best.
    """

    def __init__(self, folder: Path, *, metric: str, highest: bool):
        self._folder, self._metric, self._highest = folder, metric, highest
        self._told: dict[int, tuple] = {}  # by step: what it was measured on, and its value

    def record(self, step: int, about: Mapping, metrics: Mapping[str, float]) -> None:
        """What is saved with a step."""
        on = None
        if is_of_evaluation(self._metric):
            on = about.get("evaluation", {}).get(measured_on(self._metric))
        value = metrics.get(self._metric)
        is_known = value is not None and math.isfinite(value)
        self._told[step] = on, value if is_known else None

    def values(self, steps: Collection[int]) -> dict[int, float | None]:
        """The metric of each step; None where it has none, or was measured on something else."""
        told = {step: self._read(step) for step in sorted(steps)}
        now = next((on for on, _ in reversed(told.values()) if on is not _UNKNOWN), None)
        return {
            step: value if on is not _UNKNOWN and same_measure(on, now) else None
            for step, (on, value) in told.items()
        }

    def unreadable(self, steps: Collection[int]) -> set[int]:
        """Those that do not say at the moment what they are, so that one may be the best."""
        return {step for step in steps if self._read(step)[0] is _UNKNOWN}

    def best(self, steps: Collection[int]) -> int:
        """Of these, at least one; the newest where none has the metric."""
        value = self.values(steps).get
        return max(steps, key=partial(rank, value=value, highest=self._highest))

    def _read(self, step: int) -> tuple:
        if step not in self._told:
            try:
                meta = read_meta(self._folder / str(step))
            except DamagedCheckpoint:
                return _UNKNOWN, None
            self.record(step, meta["about"], meta["metrics"])
        return self._told[step]


def same_measure(was: Mapping | None, now: Mapping | None) -> bool:
    """Whether figures of an evaluation compare, by what about["evaluation"] says of it."""
    if was is None or now is None:
        return was is now
    return not measure_changes(was, now)


def measure_changes(was: Mapping, now: Mapping) -> list[str]:
    """The names of what differs. What only one of them says is of another version of the code;
    NAME_images, which images they are, decides for NAME, which has their path."""
    shared = was.keys() & now.keys()
    return [
        name
        for name in now
        if name in shared and f"{name}_images" not in shared and was[name] != now[name]
    ]
