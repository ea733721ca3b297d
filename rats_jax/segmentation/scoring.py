"""Scores of segmentation over a data set: added image by image, by one or several processes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

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


class ClassScores(NamedTuple):
    """Scores of one class, without those that are not defined. truth: how many pixels or instances
    it has. predicted: how many were predicted."""

    name: str
    scores: dict[str, float]
    truth: int
    predicted: int


class Scorer(Protocol):
    """Scores of one data set. Results do not depend on the order in which images are added, nor on
    the process that does it: images are sorted by name, and one that comes twice counts once."""

    #: The names of `metrics`, the one that judges a run first -> display name.
    headers: Mapping[str, str]

    def predict(self, truth: Segmented, given: Given) -> Prediction:
        """Labels of pixels, int16 [h, w], or instances, as they are scored; safe in threads.

        Raises:
          UserError: outputs that are not finite, of another number of classes, or of another task.
        """

    def measure(self, truth: Segmented, given: Given) -> Any:
        """What an image contributes, for `add_measured`; safe in threads. Raises as `predict`."""

    def measure_prediction(self, truth: Segmented, prediction: Any) -> Any:
        """As `measure`, from a result of `predict`."""

    def add_measured(self, measured: Any) -> None:
        """Adds an image."""

    def add(self, truth: Segmented, given: Given) -> None:
        """`measure` and `add_measured`."""

    def __len__(self) -> int:
        """The number of images."""

    def metrics(self) -> dict[str, float]:
        """The scores, 0 to 1, without those that are not defined. Raises UserError if nothing can
        be scored."""

    def measured(self) -> dict[str, Estimate]:
        """The same with intervals."""

    def classes(self) -> list[ClassScores]:
        """Each class that occurs or is predicted."""

    def difference(self, other: Any) -> dict[str, Estimate]:
        """These scores minus those of `other`, a scorer of the same kind and images, with paired
        intervals."""

    def state(self) -> State:
        """Everything as plain arrays."""

    def merge(self, states: Iterable[State]) -> None:
        """Adds the images of other scorers."""


def open_scorer(dataset: Any) -> Scorer:
    """A scorer of a `SegmentationSet`: anything with `name`, `task` ("semantic" or "instance") and
    `classes` (names). Raises UserError if pycocotools is needed and not installed."""
    # Imported here, since the modules of both tasks use the types above.
    if dataset.task == "semantic":
        from rats_jax.segmentation.semantic_scores import SemanticScorer

        return SemanticScorer(dataset.name, dataset.classes)
    from rats_jax.segmentation.instance_scores import InstanceScorer

    return InstanceScorer(dataset.name, dataset.classes)


def check_classes(found: int, classes: int, name: str) -> None:
    """Raises UserError if a model has another number of classes than the data set `name`."""
    if found != classes:
        raise UserError(
            f"the model predicts {found} classes, and {name} has {classes}: score it on a data set "
            "with the classes that it was trained on"
        )


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
