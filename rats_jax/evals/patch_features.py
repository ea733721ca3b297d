"""The patches of a frozen backbone for images with part masks; those of a training set on disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut, in_batches, padded
from rats_jax.errors import UserError
from rats_jax.parts.datasets import Labelled, PartDataset
from rats_jax.parts.probes.colour import colour_and_position
from rats_jax.parts.probes.linear import Moments
from rats_jax.parts.probes.patch_labels import class_counts, ids_in, places_of, points_of
from rats_jax.progress import Progress

BATCH = 16
COLOUR = "colour"  # the source that uses no model

#: uint8 [B, side, side, 3] -> features float32 [B, L, D].
Source = Callable[[np.ndarray], np.ndarray]


class Training(NamedTuple):
    """The training images. N images, L patches, D width; arrays of images are files on disk.

    features: source -> float16 [N, L, D]. moments: source -> over all patches. points: see
    `points_of`, int32 [N, h s, w s]. counts: see `class_counts`, uint8 [N, L, C]. classes: ids
    that occur, ascending. names: of ids, if known.
    """

    features: dict[str, np.ndarray]
    moments: dict[str, Moments]
    points: np.ndarray
    counts: np.ndarray
    classes: np.ndarray
    names: dict[int, str]


def sources_of(models: Mapping[str, Backbone]) -> dict[str, Source]:
    """The patches of the models after the final norm, and the colours."""
    patch = next(iter(models.values())).options.patch

    def of_model(model: Backbone) -> Source:
        run = jax.jit(model.taking(lambda features: features.patches))
        return lambda images: np.asarray(run(model.params, images), np.float32)

    colour: Source = lambda images: colour_and_position(images, patch)  # noqa: E731
    return {name: of_model(model) for name, model in models.items()} | {COLOUR: colour}


def batches(
    dataset: PartDataset, indices: Sequence[int], side: int, left_out: LeftOut, what: str
) -> Iterator[tuple[Sequence[Labelled], np.ndarray]]:
    """Samples, and their images resized to uint8 [BATCH, side, side, 3], padded with zeros."""

    def read(i: int) -> tuple[Labelled, np.ndarray]:
        sample = dataset.sample(int(i))
        image = Image.fromarray(sample.image).resize((side, side), Image.Resampling.BICUBIC)
        return sample, np.asarray(image)

    progress = Progress(what, len(indices))
    for batch in in_batches(read, indices, left_out, progress, size=BATCH):
        samples, images = zip(*batch, strict=True)
        yield samples, padded(images, BATCH)


def check_finite(features: np.ndarray, model: str, names: Sequence[str] = ()) -> None:
    """Raises UserError if the features [b, ...] of a model are not finite. names: of the images,
    for the message."""
    finite = np.isfinite(features).all(tuple(range(1, features.ndim)))
    if not finite.all():
        image = f" for {names[int(finite.argmin())]}" if names else ""
        raise UserError(
            f"the features of {model} are not finite{image}: the weights are damaged, or from a "
            "training that diverged; choose another checkpoint"
        )


def features_of(
    sources: Mapping[str, Source], samples: Sequence[Labelled], images: np.ndarray
) -> dict[str, np.ndarray]:
    """float16 [b, L, D] of the samples, by source. Raises UserError if one is not finite."""
    found = {}
    for name, source in sources.items():
        features = source(images)[: len(samples)].astype(np.float16)
        check_finite(features, name, [of.name for of in samples])
        found[name] = features
    return found


def store_training(
    sources: Mapping[str, Source],
    dataset: PartDataset,
    indices: Sequence[int],
    *,
    side: int,
    patch: int,
    folder: Path,
    left_out: LeftOut,
) -> Training:
    """Computes the features of training images and writes them to `folder`.

    Raises:
      UserError: a broken image that may not be left out; features that are not finite; masks
        without two classes.
    """
    grid = (side // patch, side // patch)
    files: dict[str, np.ndarray] = {}
    sums: dict[str, np.ndarray] = {}
    classes, names, count = np.zeros(0, np.int32), {}, 0

    def put(name: str, rows: np.ndarray) -> None:
        if name not in files:
            shape = len(indices), *rows.shape[1:]
            path = folder / f"{len(files)}.npy"
            files[name] = np.lib.format.open_memmap(path, "w+", rows.dtype, shape)
        files[name][count : count + len(rows)] = rows

    for samples, images in batches(dataset, indices, side, left_out, f"{dataset.name}, training"):
        points = np.stack([points_of(of.mask, grid=grid, patch=patch) for of in samples])
        classes = np.union1d(classes, ids_in(points))
        for name, features in features_of(sources, samples, images).items():
            put(name, features)
            flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
            sums[name] = sums.get(name, 0) + np.stack([flat.sum(0), (flat**2).sum(0)])
        put("points", points)
        names |= {id_: label for of in samples for id_, label in of.labels.items()}
        count += len(samples)
    if len(classes) < 2:
        which = f"only the class {classes[0]}" if len(classes) else "no labelled pixel"
        raise UserError(
            f"the {count:,} training images of {dataset.name} have {which}: give masks with two "
            "classes or more"
        )
    points = files.pop("points")[:count]
    patches = count * grid[0] * grid[1]
    moments = {}
    for name, (first, second) in sums.items():
        mean = first / patches
        variance = np.maximum(second / patches - mean**2, 0)
        moments[name] = Moments(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))
    features = {name: of[:count] for name, of in files.items()}
    counts = _counts(points, grid, classes, folder / "counts.npy")
    return Training(features, moments, points, counts, classes, names)


def _counts(
    points: np.ndarray, grid: tuple[int, int], classes: np.ndarray, path: Path
) -> np.ndarray:
    shape = len(points), grid[0] * grid[1], len(classes)
    counts = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for start in range(0, len(points), BATCH):
        places = places_of(points[start : start + BATCH], classes)
        counts[start : start + BATCH] = class_counts(places, grid=grid, classes=len(classes))
    return counts
