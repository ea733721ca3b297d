"""What a run trains, as its loop sees it."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.data.samples import Samples
from rats_jax.runs.guards.alarms import Alarms


class Schedules(Protocol):
    """What depends on the step, and the length of a run."""

    @property
    def steps(self) -> int: ...

    @property
    def steps_per_epoch(self) -> int: ...

    def values(self, step: int) -> Mapping[str, Any]:
        """Display name -> value at a step, for the report of a change."""
        ...

    def ends(self) -> Mapping[str, int]:
        """Display name of a span -> the step at which it ends."""
        ...


class Method(Protocol):
    """A method of training. The loop of a run knows nothing else of it.

    Attributes:
      schedules: of this run.
      samples: what the host makes of an image for the training step.
      input: how it makes it, for the log.
      evaluated: the part of the state that evaluations measure, such as "teacher".
    """

    @property
    def schedules(self) -> Schedules: ...

    @property
    def samples(self) -> Samples: ...

    @property
    def input(self) -> str: ...

    @property
    def evaluated(self) -> str: ...

    def schedules_of(self, config: ConfigDict, *, images: int) -> Schedules:
        """Those of another config of this method, for a data set of `images` images."""
        ...

    def init(self, seed: int) -> dict:
        """The state before the first step. Its part "student" has the trained parameters."""
        ...

    def train_step(self, mesh: Mesh) -> jax.stages.Wrapped:
        """(state, samples) -> (state, metrics), jitted; the state is donated. The metrics include
        loss, gradient_norm, learning_rate, skipped_steps and skipped_in_a_row."""
        ...

    def monitor(self, mesh: Mesh) -> jax.stages.Wrapped | None:
        """(state, samples) -> more metrics for a report, jitted; None if there are none."""
        ...

    def alarms(self) -> Alarms:
        """Judges the reports of a start."""
        ...

    def figures(self, scalars: Mapping[str, float]) -> list[str]:
        """The parts of the line of a report between the loss and the learning rate."""
        ...

    def warnings(self, mesh: Mesh) -> Iterable[str]:
        """Lines on settings that do not fit the run or this machine, said at its start."""
        ...
