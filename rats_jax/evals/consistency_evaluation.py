"""Consistency over a data set, computed for python -m rats_jax.evaluate --task=consistency.

K-means entries are fitted on every second image; the other half of the images is scored. Masks are
used only for the scores.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image
from scipy.cluster.vq import kmeans2, vq

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut, in_batches, padded
from rats_jax.errors import UserError
from rats_jax.evals.differences import TRAINED, UNTRAINED
from rats_jax.models import Features
from rats_jax.parts.consistency import MeasuredAgreement, Pooled
from rats_jax.parts.datasets import VOID, Labelled, PartDataset
from rats_jax.parts.null_regions import grid_regions
from rats_jax.parts.regions import resize_labels, unit
from rats_jax.procedural_parts import BACKGROUND
from rats_jax.progress import Progress
from rats_jax.voice import say

BATCH = 16
SAMPLED = 50_000  # largest number of vectors that entries are fitted on
FEW = 100  # a warning is printed if fewer images are scored
COLOURS, CELLS = "colour entries", "grid cells"  # rows that use no model
ITERATIONS = 50  # iterations of Lloyd's algorithm, after k-means++

#: Kind of data set -> the id of the background, for kinds where it is always the same.
BACKGROUNDS = {"procedural_parts": BACKGROUND, "composites": BACKGROUND, "partimagenet": 40}

#: Kinds of data sets whose ids mean the same part in every image.
KINDS = ("folder", "ade20k", "imagenet-s", "partimagenet", "procedural_parts", "composites")


class Vectors(NamedTuple):
    """Float32 unit vectors of n images.

    registers: [n, N, D], N = 0 for none. patches: [n, L, D]. images: the global vectors,
    [n, 1, D]."""

    registers: np.ndarray
    patches: np.ndarray
    images: np.ndarray


class Agreements(NamedTuple):
    """parts: over the pixels of parts; None if no background is known. all: over all pixels."""

    parts: MeasuredAgreement | None
    all: MeasuredAgreement


class Consistency(NamedTuple):
    """rows: source of the ids -> scores. differences: "ROW - ROW" -> paired differences, see
    `differences_of`. images: how many were scored. skipped: a line for each image left out, with
    the reason."""

    rows: dict[str, Agreements]
    differences: dict[str, Agreements]
    images: int
    skipped: list[str]


def evaluate_consistency(
    models: Mapping[str, Backbone],
    dataset: PartDataset,
    *,
    entries: int,
    resolution: int,
    background: int | None,
    skip_broken: bool,
    seed: int = 0,
) -> Consistency:
    """Measures how well ids of pixels, shared by all images, agree with parts. The ids are:

    - "register index": the register whose output is closest to the patch, by cosine (RATS,
      Perceiver);
    - "register entries": the K-means entry of that register;
    - "patch entries": the K-means entry of the patch;
    - "image entries": the K-means entry of the image's global vector, for all its pixels: what the
      model knows about parts only because it distinguishes images;
    - without a model: "colour entries", of a patch's mean Lab colour, and "grid cells".

    models: by name; "model" is the trained one and "untrained" its twin, see `differences_of`.

    background: the id of the background; None if every id is a part.

    Raises:
      UserError: a broken sample that may not be left out; fewer images or vectors than entries.
    """
    reader = _Reader(dataset, resolution, LeftOut(skip_broken=skip_broken))
    look = {name: _looking(model) for name, model in models.items()}
    patch = next(iter(models.values())).options.patch
    if not reader.count(first=1):
        raise UserError(
            f"{dataset.name} has only one image: two are needed, one to fit and one to score"
        )
    fitted = _fit(reader, look, patch=patch, entries=entries, seed=seed)
    pooled: dict[str, Pooled] = {}
    count = 0
    for samples, images in reader.batches(first=1):
        for row, labels in _ids(look, fitted, images, patch=patch, entries=entries).items():
            of_row = pooled.setdefault(row, Pooled())
            for sample, of_image in zip(samples, labels, strict=False):
                ids = resize_labels(of_image, sample.mask.shape)
                of_row.add(sample.mask, ids, of_class=sample.group, void=VOID)
        count += len(samples)
    if not count:
        raise UserError(f"{dataset.name} has no second image that could be read: give more images")
    found = next(iter(pooled.values())).parts
    if background is not None and (background not in found or len(found) == 1):
        which = "not an id" if background not in found else "the only id"
        raise UserError(
            f"--background={background} is {which} of these masks, which have "
            f"{', '.join(map(str, sorted(found)[:8]))}{', ...' if len(found) > 8 else ''}"
        )
    if count < FEW:
        say(
            f"warning: NMI is not adjusted for chance: with only {count} images, all rows are "
            "higher than with more images"
        )

    def agreements(measure: Callable[[int | None], MeasuredAgreement]) -> Agreements:
        return Agreements(None if background is None else measure(background), measure(None))

    return Consistency(
        {row: agreements(of_row.agreement) for row, of_row in pooled.items()},
        {
            f"{one} - {other}": agreements(partial(pooled[one].difference, pooled[other]))
            for one, other in differences_of(pooled)
        },
        count,
        reader.left_out.lines,
    )


def differences_of(rows: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of rows to compare: each row of the trained model with that of the untrained one,
    and its register entries and patch entries with image entries, colour entries and the grid."""
    trained = [row for row in rows if row.startswith(TRAINED)]
    twins = [(row, row.replace(TRAINED, UNTRAINED, 1)) for row in trained]
    entries = [row for row in trained if row.endswith(("register entries", "patch entries"))]
    nulls = f"{TRAINED}image entries", COLOURS, CELLS
    return [(one, other) for one, other in twins if other in rows] + [
        (row, null) for null in nulls if null in rows for row in entries
    ]


class _Reader:
    """Reads every second image, in threads."""

    def __init__(self, dataset: PartDataset, resolution: int, left_out: LeftOut):
        self.left_out = left_out
        self._dataset, self._side = dataset, resolution
        self._progress = Progress(dataset.name, len(dataset))

    def count(self, *, first: int) -> int:
        """How many images `batches` reads."""
        return len(range(first, len(self._dataset), 2))

    def batches(self, *, first: int) -> Iterator[tuple[Sequence[Labelled], np.ndarray]]:
        """Samples, and their images uint8 [BATCH, side, side, 3], padded with zeros if there are
        fewer than BATCH samples."""
        chosen = range(first, len(self._dataset), 2)
        for batch in in_batches(self._read, chosen, self.left_out, self._progress, size=BATCH):
            samples, images = zip(*batch, strict=True)
            yield samples, padded(images, BATCH)

    def _read(self, i: int) -> tuple[Labelled, np.ndarray]:
        sample = self._dataset.sample(i)
        size = (self._side, self._side)
        image = Image.fromarray(sample.image).resize(size, Image.Resampling.BICUBIC)
        return sample, np.asarray(image)


def _looking(model: Backbone):
    """uint8 [B, side, side, 3] -> Vectors. Registers of a ViT are left out: they are no regions."""
    has_cls = model.options.has_cls

    def vectors(features: Features) -> tuple[jax.Array, jax.Array, jax.Array]:
        registers = features.registers[:, :0] if has_cls else features.registers
        return unit(registers), unit(features.patches), unit(features.global_vector[:, None])

    run = jax.jit(model.taking(vectors))
    return lambda images: Vectors(*map(np.asarray, run(model.params, images)))


def _fit(reader: _Reader, look: Mapping, *, patch: int, entries: int, seed: int) -> dict:
    """Entries [E, D] by (model, "registers", "patches" or "images"), and by ("", "colours").

    With many images, only a sample of the vectors of each batch is kept, so that memory does not
    grow with their number. The sample is the same for all models, and the entries of a model do not
    depend on the other models.
    """
    met: dict = {}
    share = -(-SAMPLED * BATCH // reader.count(first=0))  # vectors kept of each batch

    def keep(key, vectors: np.ndarray) -> None:
        flat = vectors.reshape(-1, vectors.shape[-1])
        kept = met.setdefault(key, [])
        if len(flat) > share:
            rng = np.random.default_rng([seed, len(kept)])
            flat = flat[rng.permutation(len(flat))[:share]]
        kept.append(flat)

    for samples, images in reader.batches(first=0):
        count = len(samples)
        keep(("", "colours"), _colours(images[:count], patch))
        for name, of in look.items():
            for kind, vectors in of(images)._asdict().items():
                if vectors.shape[1]:
                    keep((name, kind), vectors[:count])
    if not met:
        raise UserError("no image could be read")
    fitted = {}
    for key, vectors in met.items():
        vectors = np.concatenate(vectors).astype(np.float64)
        if key[1] == "images":  # there may be fewer images than entries
            fitted[key] = _clustered(vectors, min(entries, len(vectors)), seed)
            continue
        if len(vectors) < entries:
            raise UserError(
                f"--entries={entries}: half of the images have only {len(vectors)} vectors of "
                f"{key[1]}; choose a smaller number"
            )
        fitted[key] = _clustered(vectors, entries, seed)
    return fitted


def _clustered(vectors: np.ndarray, entries: int, seed: int) -> np.ndarray:
    """K-means of at most SAMPLED vectors, [entries, D]."""
    chosen = np.random.default_rng(seed).permutation(len(vectors))[:SAMPLED]
    options = {"iter": ITERATIONS, "minit": "++", "missing": "warn", "rng": seed}
    centers, _ = kmeans2(vectors[chosen], entries, **options)
    return centers


def _ids(look: Mapping, fitted: Mapping, images: np.ndarray, *, patch: int, entries: int) -> dict:
    """int [BATCH, h, w] by row."""
    side = images.shape[1] // patch
    grid = (len(images), side, side)
    rows = {}
    for name, of in look.items():
        registers, patches, own = of(images)
        of_image = _nearest(own, fitted[name, "images"])[:, :, None]
        rows[f"{name}: image entries"] = np.broadcast_to(of_image, grid)
        nearest = _nearest(patches, fitted[name, "patches"])
        rows[f"{name}: patch entries"] = nearest.reshape(grid)
        if registers.shape[1]:
            index = np.einsum("bld,bnd->bln", patches, registers).argmax(-1)
            entry = np.take_along_axis(_nearest(registers, fitted[name, "registers"]), index, 1)
            rows[f"{name}: register index"] = index.reshape(grid)
            rows[f"{name}: register entries"] = entry.reshape(grid)
    colours = _colours(images, patch)
    rows[COLOURS] = _nearest(colours, fitted["", "colours"]).reshape(grid)
    cells = grid_regions(size=(side, side), k=min(entries, side * side))
    rows[CELLS] = np.broadcast_to(cells, grid)
    return rows


def _nearest(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """[n, L, D] -> [n, L]"""
    nearest, _ = vq(vectors.reshape(-1, vectors.shape[-1]).astype(np.float64), centers)
    return nearest.reshape(vectors.shape[:2])


def _colours(images: np.ndarray, patch: int) -> np.ndarray:
    """Mean Lab colour of each patch, [n, L, 3]."""
    from skimage.color import rgb2lab

    side = images.shape[1] // patch
    lab = rgb2lab(images).reshape(len(images), side, patch, side, patch, 3)
    return lab.mean((2, 4)).reshape(len(images), side * side, 3)
