"""Reads the images with part masks of `config.evaluation.parts` for the mesh."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from rats_jax.data.subset import evenly
from rats_jax.errors import UserError
from rats_jax.parts.truth import Truth, truth_of
from rats_jax.runs.online.data import fingerprint_of_parts, open_parts
from rats_jax.runs.online.spread import Spread


class Sample(NamedTuple):
    """image: uint8 [S, S, 3], as the model sees it. mask: int [h, w]. truth: facts of the mask."""

    image: np.ndarray
    mask: np.ndarray
    truth: Truth


class PartImages:
    """The images, resized to a square of `config.evaluation.resolution`; each process reads those
    of its devices.

    Attributes:
      data: the data set.
      spread: the distribution of the chosen images over the mesh.
      abstract: what `put` returns: images uint8 [B, S, S, 3], and which rows have an image, bool
        [B].
    """

    def __init__(self, config: ConfigDict, mesh: Mesh):
        self.data = open_parts(config)
        self._fingerprint = fingerprint_of_parts(self.data)
        self._side = config.evaluation.resolution
        self._chosen = evenly(len(self.data), config.evaluation.images)
        self.spread = Spread(mesh, len(self._chosen))
        self.abstract = (
            self.spread.abstract((self._side, self._side, 3), np.uint8),
            self.spread.abstract((), np.bool_),
        )

    def __len__(self) -> int:
        return len(self._chosen)

    def about(self, **more: Any) -> dict[str, Any]:
        """Facts that identify the images, and `more` facts of what is measured on them."""
        return {
            "data": self.data.name,
            "flattening": self.data.flattening,
            "images": len(self),
            "of": len(self.data),
            "resolution": self._side,
            **more,
            "fingerprint": self._fingerprint,
        }

    def batches(
        self, pool: ThreadPoolExecutor, *, on_error: Callable[[UserError], None]
    ) -> Iterator[dict[int, Sample]]:
        """As `Spread.read`."""
        return self.spread.read(pool, self._read, on_error=on_error)

    def put(self, samples: dict[int, Sample]) -> tuple[jax.Array, jax.Array]:
        """A batch on the devices: images, and which rows have an image."""
        images = {row: sample.image for row, sample in samples.items()}
        present = dict.fromkeys(samples, np.True_)
        return tuple(map(self.spread.put, (images, present), self.abstract))

    def _read(self, i: int) -> Sample:
        sample = self.data.sample(int(self._chosen[i]))
        image = Image.fromarray(sample.image)
        if image.size != (self._side, self._side):
            image = image.resize((self._side, self._side), Image.Resampling.BICUBIC)
        return Sample(np.asarray(image), sample.mask, truth_of(sample))


@contextmanager
def reading_threads() -> Iterator[ThreadPoolExecutor]:
    """A thread pool that cancels pending work if the block fails."""
    with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def add(total: dict[str, np.ndarray], sums: dict[str, jax.Array]) -> None:
    """Adds the sums of a batch, in float64."""
    for name, x in jax.device_get(sums).items():
        total[name] = total.get(name, 0) + np.asarray(x, np.float64)
