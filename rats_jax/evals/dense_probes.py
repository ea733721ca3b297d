"""Fits dense probes on the stored patches of training images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.evals.patch_features import Training
from rats_jax.parts.probes import linear
from rats_jax.parts.probes.in_context import drawn_patches, remembering
from rats_jax.parts.probes.patch_labels import pixel_labels
from rats_jax.parts.probes.pixel_scores import PixelCounts, count
from rats_jax.progress import Progress

LINEAR, IN_CONTEXT = "linear", "in_context"
TITLES = {LINEAR: "linear", IN_CONTEXT: "in-context"}
EVERY = 5  # every fifth training image is held out to choose a learning rate

#: Features [b, L, D] -> scores of classes [b, L, C].
Predict = Callable[[np.ndarray], np.ndarray]


class Probes(NamedTuple):
    """kinds: of LINEAR and IN_CONTEXT. learning_rates, iterations: of the linear layer.
    neighbours, memory: of in-context; the most patches that are remembered."""

    kinds: tuple[str, ...]
    learning_rates: tuple[float, ...]
    iterations: int
    neighbours: int
    memory: int


def fit_probes(
    training: Training, sources: Iterable[str], probes: Probes, *, grid: tuple[int, int]
) -> tuple[dict[tuple[str, str], Predict], dict[str, dict[float, float]], int]:
    """The probes by (source, kind), the learning rates as in `Segmentation`, and the number of
    patches in memory."""
    predict: dict[tuple[str, str], Predict] = {}
    rates, remembered = {}, 0
    memory = _memory(training, probes.memory) if IN_CONTEXT in probes.kinds else None
    for source in sources:
        if LINEAR in probes.kinds:
            row = f"{source}: {TITLES[LINEAR]}"
            predict[source, LINEAR], rates[row] = _fit_linear(training, source, probes, grid, row)
        if memory:
            places, of_memory = memory
            vectors = np.concatenate(
                [training.features[source][image][chosen] for image, chosen in places]
            ).astype(np.float32)
            remembered = len(vectors)
            predict[source, IN_CONTEXT] = _each_patch(
                remembering(vectors, of_memory, neighbours=probes.neighbours)
            )
    return predict, rates, remembered


def warnings_of_rates(rates: Mapping[str, Mapping[float, float]]) -> list[str]:
    """A line if a higher learning rate than the highest might have been better. rates: as
    `fit_probes` returns them."""
    highest = [row for row, found in rates.items() if len(found) > 1 and [*found][0] == max(found)]
    if not highest:
        return []
    return [
        f"warning: {', '.join(highest)}: the highest learning rate was the best: the linear layer "
        "may not be converged: give higher --learning_rates or more --iterations"
    ]


def _memory(training: Training, most: int) -> tuple[list[tuple[int, np.ndarray]], np.ndarray]:
    """(image, patches) of the memory, and their counts of classes [M, C]. The same for all
    sources."""
    images = np.arange(len(training.points))
    if len(images) > most:
        images = images[np.arange(most) * len(images) // most]
    places, found = [], []
    for image in images.tolist():
        of_image = training.counts[image]
        chosen = drawn_patches(of_image.any(-1), image, share=max(most // len(images), 1))
        places.append((image, chosen))
        found.append(of_image[chosen])
    return places, np.concatenate(found)


def _each_patch(predict: Callable[[np.ndarray], np.ndarray]) -> Predict:
    def of_images(features: np.ndarray) -> np.ndarray:
        found = predict(features.reshape(-1, features.shape[-1]))
        return found.reshape(*features.shape[:2], -1)

    return of_images


def _fit_linear(
    training: Training, source: str, probes: Probes, grid: tuple[int, int], row: str
) -> tuple[Predict, dict[float, float]]:
    """The classifier of the learning rate that is best on every fifth training image, trained
    again on all of them; and the rates with their mIoU there, the best first."""
    features, moments = training.features[source], training.moments[source]

    def fitted(images: np.ndarray, rates: Sequence[float], what: str) -> linear.Layer:
        batch = min(linear.BATCH, len(images))
        progress = Progress(f"{row}, {what}", probes.iterations * batch)
        return linear.fit(
            lambda chosen: (features[chosen], training.counts[chosen]),
            images,
            moments,
            points=_points_of_classes(training, images),
            rates=rates,
            iterations=probes.iterations,
            report=lambda _: progress.add(batch),
        )

    images, rates = np.arange(len(features)), probes.learning_rates
    found = dict.fromkeys(rates, np.nan)
    if len(rates) > 1:
        if len(images) < 2:
            raise UserError(
                "there is only one training image, so none can be held out to choose a learning "
                "rate: give one with --learning_rates, or more images"
            )
        held_out = images[::EVERY]
        layer = fitted(np.delete(images, held_out), rates, f"{len(rates)} learning rates")
        miou = _held_out_miou(training, source, layer, held_out, grid)
        found = dict(sorted(zip(rates, miou, strict=True), key=lambda item: -item[1]))
    chosen = fitted(images, [next(iter(found))], "all training images")
    return lambda of: np.asarray(linear.logits(chosen, moments, of))[0], found


def _held_out_miou(
    training: Training, source: str, layer: linear.Layer, images: np.ndarray, grid: tuple[int, int]
) -> list[float]:
    """The mIoU of each classifier on training images, at the points of their masks; 0 if they have
    no labelled point."""
    features, moments = training.features[source], training.moments[source]
    counts = [PixelCounts() for _ in layer.bias]
    for start in range(0, len(images), linear.BATCH):
        chosen = images[start : start + linear.BATCH]
        logits = np.asarray(linear.logits(layer, moments, features[chosen]))
        for i, image in enumerate(chosen):
            mask = training.points[image]
            labels = [pixel_labels(of[i].reshape(*grid, -1), mask.shape) for of in logits]
            for of, counted in zip(counts, count(mask, labels, training.classes), strict=True):
                of.add(counted)
    return [float(np.nan_to_num(of.mean().miou)) for of in counts]


def majority_class(training: Training) -> int:
    """The place of the class with the most points."""
    return int(_points_of_classes(training, np.arange(len(training.counts))).argmax())


def _points_of_classes(training: Training, images: np.ndarray) -> np.ndarray:
    """The number of points of each class in some training images, int64 [C]."""
    points = np.zeros(len(training.classes), np.int64)
    for image in images:
        points += training.counts[image].sum(0, dtype=np.int64)
    return points
