"""Reports of a run while it trains: the metrics of an interval, and lines for the log."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np
from clu import parameter_overview

from rats_jax.voice import say

#: Metrics reported as of the last step; the others are averaged over the interval.
AS_THEY_ARE = (
    *("learning_rate", "weight_decay", "teacher_momentum", "teacher_temperature"),
    *("skipped_steps", "skipped_in_a_row"),
)


class Interval:
    """Collects the metrics of the steps between two reports.

    Metrics stay on the device until the report. `add` waits for the previous step, so that the host
    runs at most one step ahead.
    """

    def __init__(self, *, batch_size: int, steps: int, steps_per_epoch: int):
        self._batch_size, self._steps, self._steps_per_epoch = batch_size, steps, steps_per_epoch
        self._metrics: list[dict] = []
        self._start: float | None = None
        self._timed = 0

    def add(self, metrics: dict) -> None:
        """Adds the metrics of one more step, perhaps not yet computed."""
        if self._metrics:
            jax.block_until_ready(self._metrics[-1])
        self._metrics.append(metrics)
        if self._start is None:  # the first step is slower: the clock starts after it
            jax.block_until_ready(metrics)
            self._start = time.perf_counter()
        else:
            self._timed += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Waits for the pending steps, then stops the clock while the block runs."""
        jax.block_until_ready(self._metrics)
        began = time.perf_counter()
        yield
        self._start += time.perf_counter() - began

    def report(self, step: int, *, seconds_waited: float) -> dict[str, float]:
        """Returns the scalars of the interval that ends at `step`, and starts the next interval."""
        metrics = jax.device_get(self._metrics)
        applied = [m for m in metrics if not m["skipped_in_a_row"]] or metrics
        scalars = {
            name: float(metrics[-1][name])
            if name in AS_THEY_ARE
            else float(np.mean([m[name] for m in applied], dtype=np.float64))
            for name in metrics[0]
        }
        now = time.perf_counter()
        seconds = now - self._start
        scalars["epoch"] = step / self._steps_per_epoch
        if self._timed:
            scalars["images_per_second"] = self._timed * self._batch_size / seconds
            scalars["input_wait"] = min(seconds_waited / seconds, 1.0)
            scalars["seconds_left"] = seconds / self._timed * (self._steps - step)
        self._metrics, self._start, self._timed = [], now, 0
        return scalars

    def line(self, step: int, scalars: dict[str, float], figures: Sequence[str]) -> str:
        """The interval as a line for the log. figures: as `Method.figures`."""
        parts = [
            f"step {step}/{self._steps}",
            f"epoch {scalars['epoch']:.2f}",
            f"loss {scalars['loss']:.4f}",
            *figures,
            f"lr {scalars['learning_rate']:.2e}",
        ]
        if "images_per_second" in scalars:
            parts += [
                f"{scalars['images_per_second']:.1f} images/s",
                f"input wait {scalars['input_wait']:.0%}",
                f"left {duration(scalars['seconds_left'])}",
            ]
        return "  ".join(parts)


def say_parameters(student: dict) -> None:
    """Prints the number of trained parameters."""
    counts = {name: parameter_overview.count_parameters(tree) for name, tree in student.items()}
    say("parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def duration(seconds: float) -> str:
    """Seconds in readable form: 45 s, 12 min 30 s, 3 h 20 min, 5 d 4 h."""
    seconds = round(seconds)
    for unit, name, lesser, lesser_name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // lesser} {lesser_name}"
    return f"{seconds} s"
