"""Steps that were not applied because their loss or gradient was not finite."""

from collections import deque

import jax
import numpy as np

from rats_jax.data.sources import Source
from rats_jax.data.worker import name_of
from rats_jax.errors import UserError
from rats_jax.runs.events import Events
from rats_jax.voice import say

NAMED = 3  # images listed in a message


class SkippedSteps:
    """Reports each skipped step with the images of its batch (each process reports its own).

    Raises UserError if `limit` steps in a row were not applied.
    """

    def __init__(self, source: Source, events: Events, *, limit: int):
        self._source, self._events, self._limit = source, events, limit
        self._pending: deque[tuple[int, dict, np.ndarray]] = deque()

    def add(self, step: int, metrics: dict[str, jax.Array], indices: np.ndarray) -> None:
        """Adds a step, perhaps not yet computed, and checks the previous one."""
        self._pending.append((step, metrics, indices))
        if len(self._pending) > 1:
            self._judge(*self._pending.popleft())

    def finish(self) -> None:
        """Checks the last step."""
        while self._pending:
            self._judge(*self._pending.popleft())

    def _judge(self, step: int, metrics: dict[str, jax.Array], indices: np.ndarray) -> None:
        in_a_row = int(metrics["skipped_in_a_row"])
        if not in_a_row:
            return
        loss, gradient_norm = float(metrics["loss"]), float(metrics["gradient_norm"])
        self._events.add_own(
            "skipped",
            step=step,
            in_a_row=in_a_row,
            loss=repr(loss),  # JSON has no NaN
            gradient_norm=repr(gradient_norm),
            indices=indices.tolist(),
        )
        names = ", ".join(name_of(self._source, index) for index in indices[:NAMED])
        say(
            f"step {step} was not applied: loss {loss:g}, gradient norm {gradient_norm:g}; its "
            f"images ({names}, ...) are listed in {self._events.file.name}"
        )
        if in_a_row >= self._limit:
            raise UserError(
                f"{in_a_row} steps in a row were not applied, the last of them step {step}: their "
                "loss or gradient is not finite. The checkpoints are not affected: lower "
                "config.optimizer.learning_rate, set config.optimizer.clip or "
                "config.compute_dtype=float32, and start again"
            )
