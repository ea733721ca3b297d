"""Scores of segmentation over a data set: added image by image, by one or several processes."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from rats_jax.errors import UserError
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.predictions import Instances

State = dict[str, np.ndarray]
#: What a model says of an image: of queries; or, semantic only, the scores of classes, float32
#: [h', w', C], or labels, int [h', w'], at any resolution.
Given = Outputs | np.ndarray
#: Labels, int16 [h, w], of the size of the image; or instances.
Prediction = np.ndarray | Instances


class Estimate(NamedTuple):
    """A score, 0 to 1, or a difference, and the ends of its 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float

    def of_score(self) -> Estimate:
        """The same with ends that a score can have, 0 to 1."""
        return Estimate(self.value, max(self.low, 0.0), min(self.high, 1.0))


class Measured(NamedTuple):
    """What an image contributes. name: of the image. counts: of the kind of its scorer."""

    name: str
    counts: Any


class ClassScores(NamedTuple):
    """Scores of one class, without those that are not defined. truth: how many pixels or instances
    it has. predicted: how many were predicted."""

    name: str
    scores: dict[str, float]
    truth: int
    predicted: int


class Scorer(ABC):
    """Scores of one data set. Results do not depend on the order in which images are added, nor on
    the process that does it: images are sorted by name, and one that comes twice counts once.

    Args:
      name: of the data set.
      classes: their names.
    """

    #: The names of `metrics`, the one that judges a run first -> display name.
    headers: ClassVar[Mapping[str, str]]

    def __init__(self, name: str, classes: Sequence[str]):
        self._name, self._names = name, tuple(classes)
        self._images: dict[str, Any] = {}  # what each contributes, by its name

    @abstractmethod
    def predict(self, truth: Segmented, given: Given) -> Any:
        """Labels of pixels, int16 [h, w], or instances, as they are scored; safe in threads.

        Raises:
          UserError: outputs that are not finite, of another number of classes, or of another task.
        """

    @abstractmethod
    def measure_prediction(self, truth: Segmented, prediction: Any) -> Measured:
        """What an image contributes, from a result of `predict`; safe in threads."""

    def add_measured(self, measured: Measured) -> None:
        """Adds an image."""
        self._images[measured.name] = measured.counts

    def add(self, truth: Segmented, given: Given) -> None:
        """Adds an image, from what a model says of it. Raises as `predict`."""
        self.add_measured(self.measure_prediction(truth, self.predict(truth, given)))

    def __len__(self) -> int:
        """The number of images."""
        return len(self._images)

    @abstractmethod
    def metrics(self) -> dict[str, float]:
        """The scores, 0 to 1, without those that are not defined. Raises UserError if nothing can
        be scored."""

    @abstractmethod
    def measured(self) -> dict[str, Estimate]:
        """The same with intervals."""

    @abstractmethod
    def classes(self) -> list[ClassScores]:
        """Each class that occurs or is predicted."""

    def difference(self, other: Self) -> dict[str, Estimate]:
        """These scores minus those of `other`, of the same images, with paired intervals. Raises
        UserError for other images."""
        if sorted(self._images) != sorted(other._images):
            raise UserError("scores of different images cannot be compared: score the same images")
        return self._difference(other)

    @abstractmethod
    def _difference(self, other: Self) -> dict[str, Estimate]:
        """As `difference`, of the same images."""

    @abstractmethod
    def state(self) -> State:
        """Everything as plain arrays."""

    @abstractmethod
    def merge(self, states: Iterable[State]) -> None:
        """Adds the images of other scorers."""

    def _check_classes(self, found: int) -> None:
        """Raises UserError if a model has another number of classes than the data set."""
        if found != len(self._names):
            raise UserError(
                f"the model predicts {found} classes, and {self._name} has {len(self._names)}: "
                "score it on a data set with the classes that it was trained on"
            )


def open_scorer(dataset: Any) -> Scorer:
    """A scorer of a `SegmentationSet`: anything with `name`, `task` ("semantic" or "instance") and
    `classes` (names). Raises UserError if pycocotools is needed and not installed."""
    # Imported here, since the modules of both tasks use the types above.
    if dataset.task == "semantic":
        from rats_jax.segmentation.semantic_scores import SemanticScorer

        return SemanticScorer(dataset.name, dataset.classes)
    from rats_jax.segmentation.instance_scores import InstanceScorer

    return InstanceScorer(dataset.name, dataset.classes)


def named(error: UserError, image: str) -> UserError:
    """The error, with the image at which it was met."""
    return UserError(f"{image}: {error}")


def to_bytes(state: State) -> np.ndarray:
    """A state as one array, uint8 [n], which processes can exchange."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {**state}  # mypy takes them for other arguments
    np.savez_compressed(file, **arrays)
    return np.frombuffer(file.getvalue(), np.uint8)


def from_bytes(data: np.ndarray) -> State:
    """The state of `to_bytes`."""
    with np.load(io.BytesIO(data.tobytes()), allow_pickle=False) as file:
        return dict(file)
