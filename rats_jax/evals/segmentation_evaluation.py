"""Dense probes of a data set, computed for python -m rats_jax.evaluate --task=segmentation."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut
from rats_jax.errors import UserError
from rats_jax.evals.dense_probes import (
    TITLES,
    Predict,
    Probes,
    fit_probes,
    majority_class,
    warnings_of_rates,
)
from rats_jax.evals.differences import TRAINED, UNTRAINED
from rats_jax.evals.patch_features import (
    COLOUR,
    Source,
    Training,
    batches,
    features_of,
    sources_of,
    store_training,
)
from rats_jax.parts.datasets import Labelled, PartDataset
from rats_jax.parts.datasets.drawings import Drawings
from rats_jax.parts.probes.patch_labels import pixel_labels
from rats_jax.parts.probes.pixel_scores import ImageCounts, MeasuredPixels, PixelCounts, count
from rats_jax.voice import say

MAJORITY = "majority class"
EVERY = 5  # every fifth image is scored if there are no others to train on


class Segmentation(NamedTuple):
    """rows: "SOURCE: PROBE" -> counts. differences: "ROW - ROW" -> paired differences. rates: row
    -> learning rate -> mIoU on the training images that are held out; the first is the rate that
    was chosen. remembered: patches in memory. images, learned_from: how many are scored, and how
    many are the training set. classes: number that can be predicted. names: of ids. skipped: a line
    for each image left out. warnings: about the learning rates and the classes."""

    rows: dict[str, PixelCounts]
    differences: dict[str, MeasuredPixels]
    rates: dict[str, dict[float, float]]
    remembered: int
    images: int
    learned_from: int
    classes: int
    names: dict[int, str]
    skipped: list[str]
    warnings: list[str]


def evaluate_segmentation(
    models: Mapping[str, Backbone],
    dataset: PartDataset,
    train: PartDataset | None,
    *,
    probes: Probes,
    resolution: int,
    folder: Path,
    skip_broken: bool,
) -> Segmentation:
    """Fits the probes on `train` and scores them on `dataset`. Without `train`, every fifth image
    of `dataset` is scored, and the others are the training set.

    models: by name; "model" is the trained one and "untrained" its twin. folder: for temporary
    files, which have the features of the training images.

    Raises:
      UserError: a broken image that may not be left out; masks that cannot be learned or scored;
        features that are not finite; the same images in both sets.
    """
    left_out = LeftOut(skip_broken=skip_broken)
    patch = next(iter(models.values())).options.patch
    grid = (resolution // patch, resolution // patch)
    if min(grid) < 2:
        raise UserError(
            f"--resolution={resolution}: an image has only one patch; choose {2 * patch} or more"
        )
    scored, learned = _split(dataset, train)
    sources = sources_of(models)
    with TemporaryDirectory(dir=folder) as temporary:
        training = store_training(
            sources,
            dataset if train is None else train,
            learned,
            side=resolution,
            patch=patch,
            folder=Path(temporary),
            left_out=left_out,
        )
        predict, rates, remembered = fit_probes(training, sources, probes, grid=grid)
        rows, images, names = _score(
            dataset,
            scored,
            sources,
            predict,
            training,
            grid=grid,
            side=resolution,
            left_out=left_out,
        )
    if not images:
        raise UserError(f"no image of {dataset.name} could be read: give more images")
    warnings = warnings_of_rates(rates)
    warnings += _warnings(rows[MAJORITY], training.classes, dataset.name)
    for line in warnings:
        say(line)
    return Segmentation(
        rows,
        {f"{one} - {other}": rows[one].difference(rows[other]) for one, other in pairs(rows)},
        rates,
        remembered,
        images,
        len(training.points),
        len(training.classes),
        names,
        left_out.lines,
        warnings,
    )


def _score(
    dataset: PartDataset,
    indices: np.ndarray,
    sources: Mapping[str, Source],
    predict: Mapping[tuple[str, str], Predict],
    training: Training,
    *,
    grid: tuple[int, int],
    side: int,
    left_out: LeftOut,
) -> tuple[dict[str, PixelCounts], int, dict[int, str]]:
    """The counts of each row, the number of images, and the names of ids."""
    titles = [*(f"{source}: {TITLES[kind]}" for source, kind in predict), MAJORITY]
    rows = {title: PixelCounts() for title in titles}
    majority, names, images = majority_class(training), dict(training.names), 0
    with ThreadPoolExecutor() as pool:
        for samples, pixels in batches(dataset, indices, side, left_out, dataset.name):
            features = features_of(sources, samples, pixels)
            scores = [of(features[source]) for (source, _), of in predict.items()]
            of_images = [[of_row[i] for of_row in scores] for i in range(len(samples))]
            counted = partial(_counted, grid=grid, classes=training.classes, majority=majority)
            for counts in pool.map(counted, samples, of_images):
                for row, of_row in zip(rows.values(), counts, strict=True):
                    row.add(of_row)
            names |= {id_: name for of in samples for id_, name in of.labels.items()}
            images += len(samples)
    return rows, images, names


def pairs(rows: Sequence[str] | Mapping) -> list[tuple[str, str]]:
    """The rows to compare: each of the trained model with those of its twin and of the colours."""
    trained = [row for row in rows if row.startswith(TRAINED)]
    return [
        (row, other)
        for prefix in (UNTRAINED, f"{COLOUR}: ")
        for row in trained
        if (other := row.replace(TRAINED, prefix, 1)) in rows
    ]


def _split(dataset: PartDataset, train: PartDataset | None) -> tuple[np.ndarray, np.ndarray]:
    """The indices that are scored, of `dataset`, and those of the training images."""
    everything = np.arange(len(dataset))
    if train is not None:
        if shared := dataset.identities & train.identities:
            seed = f" ({dataset.name}:COUNT@SEED with another seed)"
            raise UserError(
                f"{len(shared):,} images of --dataset are also in --train: give other images to "
                f"score{seed if isinstance(dataset, Drawings) else ''}"
            )
        return everything, np.arange(len(train))
    if len(dataset) < 2:
        raise UserError(f"{dataset.name} has only one image: one to train and one to score")
    return everything[::EVERY], np.delete(everything, everything[::EVERY])


def _counted(
    sample: Labelled,
    scores: Sequence[np.ndarray],
    *,
    grid: tuple[int, int],
    classes: np.ndarray,
    majority: int,
) -> list[ImageCounts]:
    """The counts of an image for each row, scored at the size of its mask."""
    size = sample.mask.shape
    labels = [pixel_labels(of.reshape(*grid, -1), size) for of in scores]
    return count(sample.mask, [*labels, np.full(size, majority)], classes)


def _warnings(counts: PixelCounts, classes: np.ndarray, name: str) -> list[str]:
    of_classes = counts.classes()
    strange = [id_ for id_ in of_classes if id_ not in set(classes.tolist())]
    if not strange:
        return []
    pixels = sum(of.pixels for of in of_classes.values())
    share = sum(of_classes[id_].pixels for id_ in strange) / pixels
    listed = ", ".join(map(str, strange[:8])) + (", ..." if len(strange) > 8 else "")
    return [
        f"warning: {len(strange)} classes of {name} ({listed}; {100 * share:.2f} % of its labelled "
        "pixels) have no pixel in the training images, so their IoU is 0"
    ]
