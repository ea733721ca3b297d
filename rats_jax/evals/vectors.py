"""Batches of labelled images, and their vectors by a frozen backbone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.classification.labelled import LabelledImages
from rats_jax.classification.views import central_crop
from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.data.reading import LeftOut, in_batches, in_threads, padded
from rats_jax.errors import UserError
from rats_jax.progress import Progress

BATCH = 64

View = Callable[[np.ndarray, int], np.ndarray]  # (an image's pixels, its index) -> [S, S, 3]


class Batch(NamedTuple):
    """indices, labels: int64 [b], b at most B. pixels: uint8 [B, S, S, 3], zeros beyond b, so that
    all batches use one compiled program."""

    indices: np.ndarray
    labels: np.ndarray
    pixels: np.ndarray


class Vectors(NamedTuple):
    """indices, labels: int64 [N]. of: name -> float32 [N, D]."""

    indices: np.ndarray
    labels: np.ndarray
    of: dict[str, np.ndarray]

    def where(self, chosen: np.ndarray) -> "Vectors":
        """The images that the bool array [N] selects."""
        return jax.tree.map(lambda rows: rows[chosen], self)


def batches(
    images: LabelledImages,
    indices: Sequence[int],
    view: View,
    left_out: LeftOut,
    progress: Progress,
    *,
    batch: int,
) -> Iterator[Batch]:
    """Decodes the images with these indices, in this order, and applies `view`. Reads as
    `in_batches` does.

    Raises:
      UserError: a broken image that may not be left out.
    """

    def sample(index: int) -> tuple[int, int, np.ndarray]:
        image, label = images.read(index)
        try:
            return index, label, view(decode_fast(image), index)
        except UnreadableImage as error:
            raise images.broken(index, error) from error

    for samples in in_batches(sample, indices, left_out, progress, size=batch):
        found, labels, views = zip(*samples, strict=True)
        yield Batch(np.array(found, np.int64), np.array(labels, np.int64), padded(views, batch))


def read_labels(images: LabelledImages, left_out: LeftOut) -> tuple[np.ndarray, np.ndarray]:
    """The indices of all images that can be read and have a label, and the labels, int64 [N]. No
    image is decoded."""

    def label(index: int) -> tuple[int, int]:
        return index, images.read(index)[1]

    count = len(images.source)
    progress = Progress(f"labels of {images.name}", count)
    found = list(in_threads(label, range(count), left_out, progress, ahead=256))
    table = np.array(found, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def extract(
    vectors: Mapping[str, Callable[[dict, jax.Array], jax.Array]],
    models: Mapping[str, Backbone],
    images: LabelledImages,
    indices: Sequence[int],
    side: int,
    left_out: LeftOut,
) -> Vectors:
    """The vectors of the central crops of images, `side` pixels wide. Threads decode while the
    device computes.

    vectors: for each model, by name, a function as `Backbone.taking` makes it.

    Raises:
      UserError: a broken image that may not be left out; no image is left.
    """
    jitted = {name: jax.jit(of_model) for name, of_model in vectors.items()}

    def view(pixels: np.ndarray, index: int) -> np.ndarray:
        return central_crop(pixels, side)

    progress = Progress(images.name, len(indices))
    known, found, coming = [], [], None
    for batch in batches(images, indices, view, left_out, progress, batch=BATCH):
        done = coming
        coming = {name: of(models[name].params, batch.pixels) for name, of in jitted.items()}
        if done is not None:
            found.append(jax.device_get(done))  # while the device works on the next
        known.append((batch.indices, batch.labels))
    if not known:
        raise UserError(
            f"no image of {images.name} could be read; the first error: {left_out.lines[0]}"
        )
    found.append(jax.device_get(coming))
    indices, labels = (np.concatenate(arrays) for arrays in zip(*known, strict=True))
    of = {name: np.concatenate([batch[name] for batch in found]) for name in coming}
    return Vectors(indices, labels, {name: rows[: len(indices)] for name, rows in of.items()})
