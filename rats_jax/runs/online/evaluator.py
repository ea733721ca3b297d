"""The interface of an evaluation during training, which measures the teacher.

To add one, write a file in evaluators/ with a class that implements `Evaluator`, add the class to
the list there, and add its name to `config.evaluation.measures`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.dino.step import DINO
from rats_jax.errors import UserError
from rats_jax.runs.online.part_images import PartImages


@dataclass
class Opening:
    """The arguments for opening an evaluator.

    Attributes:
      opened: name -> evaluator, for those opened before this one.
    """

    config: ConfigDict
    dino: DINO
    mesh: Mesh
    opened: dict[str, "Evaluator"] = field(default_factory=dict)

    @cached_property
    def part_images(self) -> PartImages | None:
        """The images of `config.evaluation.parts`, shared by all evaluators; None if unset."""
        return PartImages(self.config, self.mesh) if self.config.evaluation.parts else None


class Moment(NamedTuple):
    """samples: of the current training batch, if there is one. first: no evaluation of this start
    has succeeded yet, so that baselines are measured as well. beat: call repeatedly to signal
    progress. on_error: call with the error of each image that is left out."""

    samples: Mapping[str, jax.Array] | None
    first: bool
    beat: Callable[[], None]
    on_error: Callable[[UserError], None]


class Found(NamedTuple):
    """scalars: the same in all processes. left_out: the number of images that could not be read;
    None if the evaluator reads none. grid: scores of a plain grid under the same names, if
    `Moment.first`. facts: more fields for the event of the first evaluation. pictures: name ->
    function that returns uint8 [h, w, 3], called in process 0."""

    scalars: dict[str, float]
    left_out: int | None = None
    grid: Mapping[str, float] = {}  # noqa: RUF012, nobody writes to it
    facts: Mapping[str, Any] = {}  # noqa: RUF012
    pictures: Mapping[str, Callable[[], np.ndarray]] = {}  # noqa: RUF012


class Evaluator(Protocol):
    """Training must not depend on it, and it must not draw random numbers.

    Attributes:
      on: the name of its images in warnings, events and checkpoints: its own name, unless it
        measures on the images of another evaluator.
      groups: the names of its metrics before the slash, which no other evaluator uses.
      scores: metrics that are fractions, higher is better, with names that end in _NUMBER: name
        without _NUMBER -> display name. Each has a panel in dynamics.png.
      unsaid: scores that the log line of an evaluation leaves out, so that it stays short.
      number: the display name of that number.
      said: the other metrics in the log line of an evaluation -> display name.
      about: what it measures on. Values are comparable only if this is the same. Empty if it has
        no images of its own.
      names: the names of its metrics.
    """

    on: ClassVar[str]
    groups: ClassVar[tuple[str, ...]]
    scores: ClassVar[Mapping[str, str]] = {}
    unsaid: ClassVar[tuple[str, ...]] = ()
    number: ClassVar[str] = ""
    said: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def open(cls, opening: Opening) -> Self | None:
        """None if the config names nothing to measure on. Raises UserError."""

    @property
    def about(self) -> dict[str, Any]:
        return {}

    @property
    def names(self) -> list[str]: ...

    def compile(self, teacher: dict) -> None:
        """Called before the first `measure`, in all processes. teacher: arrays, or abstract ones.
        Raises UserError if memory is too small."""

    def measure(self, teacher: dict, moment: Moment) -> Found:
        """Called in all processes. Raises UserError if nothing can be measured."""
