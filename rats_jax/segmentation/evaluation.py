"""Scores a model on the whole images of a data set."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from rats_jax.data.reading import LeftOut, in_threads
from rats_jax.errors import UserError
from rats_jax.progress import Progress
from rats_jax.segmentation.interface import Segmented
from rats_jax.segmentation.resizing import for_evaluation
from rats_jax.segmentation.scoring import Given, Prediction, Scorer

_MOST_THREADS = 8  # by default; each holds the masks of an image


class Example(NamedTuple):
    """An image with its truth, and what was predicted: for pictures."""

    truth: Segmented
    prediction: Prediction


class Evaluated(NamedTuple):
    """examples: of the images that were asked for. left_out: a line for each image that cannot be
    read."""

    examples: list[Example]
    left_out: list[str]


class _Read(NamedTuple):
    """The i-th image, and pixels uint8 [h, w, 3] of it at the size at which it is scored."""

    i: int
    truth: Segmented
    pixels: np.ndarray


def evaluate(
    dataset: Any,
    predict: Callable[[np.ndarray], Given],
    scorer: Scorer,
    *,
    short_side: int,
    long_side: int,
    multiple: int,
    threads: int = 0,
    beat: Callable[[], None] = lambda: None,
    indices: Sequence[int] | None = None,
    examples: Sequence[int] = (),
) -> Evaluated:
    """Adds the images of a `SegmentationSet` to a scorer.

    Images are read ahead and scored in threads, while `predict` runs in this thread, image by
    image. An image that cannot be read is left out and reported.

    Args:
      predict: from an image, uint8 [h, w, 3], to what a model says of it.
      short_side, long_side, multiple: the size at which images are scored, see `evaluated_size`.
      threads: for reading, and as many for scoring; 0 for one for each core, 8 at most.
      beat: is called after each image.
      indices: of the images to score; all by default. One of several processes gives its share.
      examples: the indices of images to return with their predictions.

    Raises:
      UserError: no image could be read; or as `Scorer.predict`.
    """
    indices = range(len(dataset)) if indices is None else indices
    threads = threads or min(os.cpu_count() or 1, _MOST_THREADS)

    def read(i: int) -> _Read:
        truth = dataset.sample(i)
        return _Read(i, truth, for_evaluation(truth.image, short_side, long_side, multiple))

    def score(truth: Segmented, given: Given) -> tuple[Prediction, Any]:
        prediction = scorer.predict(truth, given)
        return prediction, scorer.measure_prediction(truth, prediction)

    found = _Results(scorer, set(examples))
    left_out = LeftOut(skip_broken=True)
    progress = Progress(f"scoring {dataset.name}", len(indices))
    reading: Any = in_threads(read, indices, left_out, progress, ahead=2 * threads, threads=threads)
    with ThreadPoolExecutor(threads) as pool, closing(reading):
        waiting: deque[tuple[_Read, Future]] = deque()
        try:
            for image in reading:
                given = predict(image.pixels)
                waiting.append((image, pool.submit(score, image.truth, given)))
                while len(waiting) > threads:
                    found.add(*waiting.popleft())
                beat()
            for image, future in waiting:
                found.add(image, future)
        finally:
            for _, future in waiting:
                future.cancel()
    if len(indices) and len(left_out.lines) == len(indices):
        raise UserError(f"no image of {dataset.name} can be scored: {left_out.lines[0]}")
    return Evaluated(found.examples, left_out.lines)


class _Results:
    def __init__(self, scorer: Scorer, wanted: set[int]):
        self._scorer, self._wanted = scorer, wanted
        self.examples: list[Example] = []

    def add(self, image: _Read, future: Future) -> None:
        prediction, measured = future.result()
        self._scorer.add_measured(measured)
        if image.i in self._wanted:
            self.examples.append(Example(image.truth, prediction))
