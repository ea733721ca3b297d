"""The learning rate of fine-tuning as a function of the step, for both frameworks."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """steps: length of the run. peak: the highest rate. kind: "poly", which falls as
    (1 - step / steps) ** power, or "steps", which multiplies by gamma at each milestone.
    warmup_steps: the rate of the first steps rises linearly from 0 to that of `kind`."""

    steps: int
    peak: float
    kind: str = "poly"
    power: float = 0.9
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_steps: int = 0

    @classmethod
    def of(cls, optimizer: Mapping[str, Any]) -> "Schedule":
        """optimizer: the section of a config of fine-tuning."""
        same = ("steps", "power", "gamma", "warmup_steps")
        return cls(
            peak=optimizer["learning_rate"],
            kind=optimizer["schedule"],
            milestones=tuple(optimizer["milestones"]),
            **{name: optimizer[name] for name in same},
        )

    def learning_rate(self, step: Any, *, xp: ModuleType = np) -> Any:
        """The rate of the update after `step` earlier ones.

        step: integers of any shape, also traced by JAX. xp: numpy, or jax.numpy for JAX.
        """
        step = xp.asarray(step)
        if self.kind == "poly":
            # The difference of integers is exact, so that float32 keeps its precision to the end.
            share = (xp.maximum(self.steps - step, 0) / self.steps) ** self.power
        else:
            passed = sum((step >= at).astype(int) for at in self.milestones)
            share = self.gamma ** xp.asarray(passed, dtype=float)
        warm = xp.minimum(step, self.warmup_steps) / self.warmup_steps if self.warmup_steps else 1.0
        return self.peak * warm * share
