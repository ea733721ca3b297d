"""What an evaluation during training is: something that is measured of the teacher.

A new one is a file of evaluators/ with a class like `Evaluator`, its entry in the list there, and
its name in `config.evaluation.measures`.
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
    """What evaluators are made from.

    Attributes:
      opened: by name, the evaluators that have been opened before this one.
    """

    config: ConfigDict
    dino: DINO
    mesh: Mesh
    opened: dict[str, "Evaluator"] = field(default_factory=dict)

    @cached_property
    def part_images(self) -> PartImages | None:
        """Those of `config.evaluation.parts`, the same object for all evaluators; None without."""
        return PartImages(self.config, self.mesh) if self.config.evaluation.parts else None


class Moment(NamedTuple):
    """samples: of the training batch at hand, if there is one. first: no evaluation has succeeded
    yet in this start, so that what figures are judged by is measured as well. beat: to be called
    again and again, while all is well. on_error: to be called with what is wrong with an image that
    is left out."""

    samples: Mapping[str, jax.Array] | None
    first: bool
    beat: Callable[[], None]
    on_error: Callable[[UserError], None]


class Found(NamedTuple):
    """scalars: the same in all processes. left_out: how many images could not be read; None where
    none are read. grid: scores of a plain grid by the same names, at the first moment. facts: more
    for the event of the first moment. pictures: by name, what draws uint8 [h, w, 3]; called in
    process 0."""

    scalars: dict[str, float]
    left_out: int | None = None
    grid: Mapping[str, float] = {}  # noqa: RUF012, nobody writes to it
    facts: Mapping[str, Any] = {}  # noqa: RUF012
    pictures: Mapping[str, Callable[[], np.ndarray]] = {}  # noqa: RUF012


class Evaluator(Protocol):
    """Measures nothing that training depends on, and draws no random number.

    Attributes:
      on: what its images are called, in warnings, events and checkpoints: its own name, unless it
        measures on the images of another evaluator.
      groups: the names of its metrics before the slash, which no other evaluator has.
      scores: metrics that are fractions, of two the higher the better, which end in a number: by
        their names without _NUMBER, how people call them. Each has a panel in dynamics.png.
      number: what that number is called.
      said: metrics that stand in the line of an evaluation beside scores, and how they are called
        there.
      about: what it measures on; its figures do not compare with those of another one. Empty where
        it has no images of its own.
      names: of its metrics.
    """

    on: ClassVar[str]
    groups: ClassVar[tuple[str, ...]]
    scores: ClassVar[Mapping[str, str]] = {}
    number: ClassVar[str] = ""
    said: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def open(cls, opening: Opening) -> Self | None:
        """None where the config names nothing to measure on. Raises UserError."""

    @property
    def about(self) -> dict[str, Any]:
        return {}

    @property
    def names(self) -> list[str]: ...

    def compile(self, teacher: dict) -> None:
        """Before the first call of `measure`, in all processes. teacher: arrays, or abstract ones.
        Raises UserError where memory is too small."""

    def measure(self, teacher: dict, moment: Moment) -> Found:
        """All processes come here. Raises UserError where nothing can be measured."""
