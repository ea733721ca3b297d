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
    """The metric of each checkpoint. A metric of an evaluation is comparable only if
    about["evaluation"] is the same as in the newest checkpoint, since other images change it.

    folder: of the checkpoints. highest: whether the highest value is the best.
    """

    def __init__(self, folder: Path, *, metric: str, highest: bool):
        self._folder, self._metric, self._highest = folder, metric, highest
        self._records: dict[int, tuple] = {}  # step -> (what it was measured on, value)

    def record(self, step: int, about: Mapping, metrics: Mapping[str, float]) -> None:
        """Records the metric that is saved with a step."""
        on = None
        if is_of_evaluation(self._metric):
            on = about.get("evaluation", {}).get(measured_on(self._metric))
        value = metrics.get(self._metric)
        is_known = value is not None and math.isfinite(value)
        self._records[step] = on, value if is_known else None

    def values(self, steps: Collection[int]) -> dict[int, float | None]:
        """The metric of each step; None if it has none or is not comparable."""
        records = {step: self._read(step) for step in sorted(steps)}
        now = next((on for on, _ in reversed(records.values()) if on is not _UNKNOWN), None)
        return {
            step: value if on is not _UNKNOWN and same_measure(on, now) else None
            for step, (on, value) in records.items()
        }

    def unreadable(self, steps: Collection[int]) -> set[int]:
        """The steps whose metadata cannot be read at the moment; one of them may be the best."""
        return {step for step in steps if self._read(step)[0] is _UNKNOWN}

    def best(self, steps: Collection[int]) -> int:
        """The best of the steps (at least one); the newest if none has the metric."""
        value = self.values(steps).get
        return max(steps, key=partial(rank, value=value, highest=self._highest))

    def _read(self, step: int) -> tuple:
        if step not in self._records:
            try:
                meta = read_meta(self._folder / str(step))
            except DamagedCheckpoint:
                return _UNKNOWN, None
            self.record(step, meta["about"], meta["metrics"])
        return self._records[step]


def same_measure(was: Mapping | None, now: Mapping | None) -> bool:
    """Whether values of an evaluation are comparable, by its entries in about["evaluation"]."""
    if was is None or now is None:
        return was is now
    return not measure_changes(was, now)


def measure_changes(was: Mapping, now: Mapping) -> list[str]:
    """The names of the entries that differ.

    Entries in only one of the two are ignored, since they come from another version of the code.
    NAME has the path of the images; it is ignored if both have NAME_images, which identifies them.
    """
    shared = was.keys() & now.keys()
    return [
        name
        for name in now
        if name in shared and f"{name}_images" not in shared and was[name] != now[name]
    ]
