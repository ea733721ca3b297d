"""What is kept of each image for the rows of the table: vectors, labels, and whether they look at
a part.

Purity and use depend on the number of detectors and of labels. So every source has as many
detectors for each image as the model has registers, and all of them have maps of the same kind: of
values from 0 to 1 over all patches, so that each has a label if the image has parts. The map of a
patch is its cosine with all patches; that of a cell of the grid falls with the distance of colours
and positions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.data.reading import padded
from rats_jax.dictionaries.images import Sample
from rats_jax.models import Features
from rats_jax.parts.colour import mean_lab
from rats_jax.parts.dictionary.detectors import detect, kind_of, layers_needed, scaled
from rats_jax.parts.dictionary.naming import NONE, labels_of, peaks_in_parts
from rats_jax.parts.null_regions import grid_regions
from rats_jax.parts.regions import EXACT, Size, unit

COLOURS = "colours"
PATCHES, GLOBAL = "patches", "global vector"
POSITIONS = 100.0  # the range of positions beside Lab, whose L also goes from 0 to 100


class Detected(NamedTuple):
    """The detectors of a batch of images. vectors: float32 [b, N, D]. label: int32 [b, N]. inside:
    bool [b, N], whether the peak of the map is in a part. exists: bool [b, N], False for a cluster
    without patches."""

    vectors: np.ndarray
    label: np.ndarray
    inside: np.ndarray
    exists: np.ndarray


class Settings(NamedTuple):
    """side: pixels of the images. grid: patches. norm: see `detect`. regions: detectors of an image
    for models without registers."""

    side: int
    grid: Size
    norm: str
    regions: int


class Detecting:
    """Makes the detectors of all sources for batches of images.

    models: by name, "model" and perhaps "untrained", of one architecture. batch: the most images.
    """

    def __init__(self, models: Mapping[str, Backbone], settings: Settings, *, batch: int):
        options = models["model"].options
        self.kind = kind_of(options)
        self.count = options.registers or settings.regions
        self.settings, self._batch = settings, batch
        self.few = min(self.count, settings.grid[0] * settings.grid[1])  # patches, or cells
        self._models = models
        self._run = {name: _compiled(model, settings) for name, model in models.items()}
        self._cells = grid_regions(size=settings.grid, k=self.few).ravel()

    @property
    def sources(self) -> list[str]:
        """The names of all sources of vectors, as in `detect`."""
        own = (self.kind, PATCHES, GLOBAL)
        return [f"{name}: {what}" for name in self._models for what in own] + [COLOURS]

    def detect(self, samples: Sequence[Sample], indices: Sequence[int]) -> dict[str, Detected]:
        """indices: the numbers of the images in their data set, from which patches are drawn."""
        pixels = self._pixels(samples)
        length = len(self._cells)
        drawn = np.zeros((self._batch, self.few), np.int32)
        for row, index in zip(drawn, indices, strict=False):
            rng = np.random.default_rng(index)
            row[:] = np.sort(rng.permutation(length)[: self.few])
        found = {}
        for name, run in self._run.items():
            arrays = jax.device_get(run(self._models[name].params, pixels, drawn))
            own, maps, patches, near, whole = (x[: len(samples)] for x in arrays)
            found[f"{name}: {self.kind}"] = _detected(own, maps, samples)
            found[f"{name}: {PATCHES}"] = _detected(patches, near, samples)
            found[f"{name}: {GLOBAL}"] = _without_maps(whole)
        cells, near = zip(*[self._colours(sample.pixels) for sample in samples], strict=True)
        found[COLOURS] = _detected(np.stack(cells), near, samples)
        return found

    def maps(self, samples: Sequence[Sample]) -> np.ndarray:
        """The maps [b, N, L] of the model's own detectors."""
        drawn = np.zeros((self._batch, self.few), np.int32)
        run = self._run["model"](self._models["model"].params, self._pixels(samples), drawn)
        return np.asarray(run[1])[: len(samples)]

    def _pixels(self, samples: Sequence[Sample]) -> np.ndarray:
        return padded([sample.pixels for sample in samples], self._batch)

    def _colours(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean Lab colour and position of each cell, float32 [few, 5], and maps [few, L]."""
        height, width = self.settings.grid
        lab = mean_lab(pixels[None], self.settings.side // height).reshape(-1, 3)
        places = (np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2) + 0.5) / (height, width)
        values = np.concatenate([lab, POSITIONS * places], 1)
        sums = np.zeros((self.few, 5))
        np.add.at(sums, self._cells, values)
        cells = sums / np.bincount(self._cells)[:, None]
        near = -np.sqrt(((cells[:, None] - values) ** 2).sum(-1))
        near -= near.min(1, keepdims=True)
        near /= np.maximum(near.max(1, keepdims=True), 1e-12)
        return cells.astype(np.float32), near.astype(np.float32)


def _compiled(model: Backbone, settings: Settings) -> Callable:
    """(parameters, pixels, patches to draw [B, n]) -> detectors [B, N, D] with maps [B, N, L],
    drawn patches [B, n, D] with maps [B, n, L], global vectors [B, 1, D]."""

    def pick(features: Features, drawn: jax.Array) -> tuple[jax.Array, ...]:
        own = detect(
            features,
            model.options,
            grid=settings.grid,
            norm=settings.norm,
            regions=settings.regions,
        )
        tokens = features
        if settings.norm == "pre":
            ((_, layer),) = features.layers.items()
            tokens = layer.raw
        patches = jnp.take_along_axis(tokens.patches, drawn[..., None], axis=1)
        near = jnp.einsum("bnd,bld->bnl", unit(patches), unit(tokens.patches), precision=EXACT)
        rows = own.vectors, own.maps, patches, scaled(near), features.global_vector[:, None]
        return tuple(x.astype(jnp.float32) for x in rows)

    def run(params: dict, pixels: jax.Array, drawn: jax.Array) -> tuple[jax.Array, ...]:
        needed = layers_needed(model.options, norm=settings.norm)
        return model.taking(partial(pick, drawn=drawn), **needed)(params, pixels)

    return jax.jit(run)


def _detected(vectors: np.ndarray, maps: Sequence, samples: Sequence[Sample]) -> Detected:
    label = np.full(vectors.shape[:2], NONE, np.int32)
    inside = np.zeros(vectors.shape[:2], bool)
    exists = np.ones(vectors.shape[:2], bool)
    for i, sample in enumerate(samples):
        exists[i] = vectors[i].any(1)
        if sample.parts is not None:
            label[i] = labels_of(maps[i], sample.parts)
            inside[i] = peaks_in_parts(maps[i], sample.parts)
    return Detected(vectors, label, inside, exists)


def _without_maps(vectors: np.ndarray) -> Detected:
    shape = vectors.shape[:2]
    return Detected(
        vectors, np.full(shape, NONE, np.int32), np.zeros(shape, bool), np.ones(shape, bool)
    )
