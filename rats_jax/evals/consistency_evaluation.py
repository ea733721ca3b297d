"""Consistency over a data set, computed for python -m rats_jax.evaluate --task=consistency.

K-means entries are fitted on every second image; the other half of the images is scored. Masks are
used only for the scores.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut, in_batches, padded
from rats_jax.errors import UserError
from rats_jax.evals.consistency_ids import CELLS, COLOURS, SAMPLED, fit_entries, ids_of, looking
from rats_jax.evals.dictionary_ids import ENTRIES, NAMES, dictionary_looking
from rats_jax.evals.differences import TRAINED, UNTRAINED
from rats_jax.parts.consistency import MeasuredAgreement, Pooled
from rats_jax.parts.datasets import VOID, Labelled, PartDataset
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.parts.regions import resize_labels
from rats_jax.parts.saved_regions import SavedRegions
from rats_jax.progress import Progress
from rats_jax.resolution import CELL
from rats_jax.voice import say

BATCH = 16
FEW = 100  # a warning is printed if fewer images are scored
#: Rows of the trained model that are compared with the nulls.
COMPARED = "register entries", "patch entries", ENTRIES, NAMES


class Agreements(NamedTuple):
    """parts: over the pixels of parts; None if no background is known. all: over all pixels."""

    parts: MeasuredAgreement | None
    all: MeasuredAgreement


class Consistency(NamedTuple):
    """rows: source of the ids -> scores. ids: row -> how many different ids its pixels have.
    differences: "ROW - ROW" -> paired differences, see `differences_of`. images: how many were
    scored. skipped: a line for each image left out, with the reason."""

    rows: dict[str, Agreements]
    ids: dict[str, int]
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
    saved: Sequence[SavedRegions] = (),
    dictionary: Dictionary | None = None,
    seed: int = 0,
) -> Consistency:
    """Measures how well ids of pixels, shared by all images, agree with parts. The ids are:

    - "register index": the register whose output is closest to the patch, by cosine (RATS,
      Perceiver);
    - "register entries": the K-means entry of that register;
    - "patch entries": the K-means entry of the patch;
    - "image entries": the K-means entry of the image's global vector, for all its pixels: what the
      model knows about parts only because it distinguishes images;
    - "dictionary entries" and "dictionary names", see `dictionary_ids`, of the trained model;
    - the ids of saved label maps, by their names;
    - without a model: "colour entries", of a patch's mean Lab colour, and "grid cells".

    models: by name; "model" is the trained one and "untrained" its twin, see `differences_of`. If
    there is none, patches are cells of 16 pixels. background: the id of the background; None if
    every id is a part.

    Raises:
      UserError: a broken sample that may not be left out; fewer images or vectors than entries;
        features that are not finite; fewer than two parts.
    """
    reader = _Reader(dataset, resolution, saved, LeftOut(skip_broken=skip_broken))
    if not reader.count(first=1):
        raise UserError(
            f"{dataset.name} has only one image: two are needed, one to fit and one to score"
        )
    look = {name: looking(name, model) for name, model in models.items()}
    patch = next((model.options.patch for model in models.values()), CELL)
    share = -(-SAMPLED * BATCH // reader.count(first=0))
    to_fit = ((len(seen), images) for seen, images in reader.batches(first=0))
    fitted = fit_entries(to_fit, look, patch=patch, entries=entries, share=share, seed=seed)
    sources = [partial(ids_of, look, fitted, patch=patch, entries=entries)]
    if dictionary is not None:
        sources.append(dictionary_looking(models["model"], dictionary, side=resolution))
    pooled, count = _pool(reader, sources)
    if not count:
        raise UserError(f"{dataset.name} has no second image that could be read: give more images")
    _check_parts(next(iter(pooled.values())).parts, background, of=dataset.name)
    if count < FEW:
        say(
            f"warning: NMI is not adjusted for chance: with only {count} images, all rows are "
            "higher than with more images"
        )

    def agreements(measure: Callable[[int | None], MeasuredAgreement]) -> Agreements:
        return Agreements(None if background is None else measure(background), measure(None))

    return Consistency(
        {row: agreements(of_row.agreement) for row, of_row in pooled.items()},
        {row: len(of_row.ids) for row, of_row in pooled.items()},
        {
            f"{one} - {other}": agreements(partial(pooled[one].difference, pooled[other]))
            for one, other in differences_of(pooled, [regions.name for regions in saved])
        },
        count,
        reader.left_out.lines,
    )


def _pool(
    reader: "_Reader", sources: Sequence[Callable[[np.ndarray], Mapping[str, np.ndarray]]]
) -> tuple[dict[str, Pooled], int]:
    """The counts of each row over the images that are scored, and how many these are.

    sources: functions from images to the ids of their patches, int [BATCH, h, w], by row.
    """
    pooled: dict[str, Pooled] = {}
    count = 0
    for seen, images in reader.batches(first=1):
        labels = {row: ids for ids_of_rows in sources for row, ids in ids_of_rows(images).items()}
        for i, (sample, _, maps) in enumerate(seen):
            size = sample.mask.shape
            of_image = {row: resize_labels(ids[i], size) for row, ids in labels.items()} | maps
            for row, ids in of_image.items():
                of_row = pooled.setdefault(row, Pooled())
                of_row.add(sample.mask, ids, of_class=sample.group, void=VOID)
        count += len(seen)
    return pooled, count


def _check_parts(found: Collection[int], background: int | None, *, of: str) -> None:
    """Raises UserError if the ids that the masks of the data set `of` have are of no use."""
    if not found:
        raise UserError(f"no image of {of} has a labelled pixel to score: all are void")
    if background is not None and background not in found:
        raise UserError(
            f"--background={background} is not an id of these masks, which have "
            f"{', '.join(map(str, sorted(found)[:8]))}{', ...' if len(found) > 8 else ''}"
        )
    parts = set(found) - {background}
    if len(parts) < 2:
        which = f"only part {parts.pop()}" if parts else "no part"
        beside = f" besides the background {background}" if background is not None else ""
        raise UserError(
            f"the images of {of} that are scored have {which}{beside}: consistency needs two parts "
            "or more; check the masks, their ids and --background"
        )


def differences_of(rows: Collection[str], saved: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The pairs of rows to compare: each row of the trained model with that of the untrained one;
    and its entries of registers, patches and the dictionary, the dictionary's names, and saved
    label maps with image entries, colour entries and the grid."""
    trained = [row for row in rows if row.startswith(TRAINED)]
    twins = [(row, row.replace(TRAINED, UNTRAINED, 1)) for row in trained]
    entries = [row for row in trained if row.endswith(COMPARED)] + [*saved]
    nulls = f"{TRAINED}image entries", COLOURS, CELLS
    return [(one, other) for one, other in twins if other in rows] + [
        (row, null) for null in nulls if null in rows for row in entries
    ]


class _Seen(NamedTuple):
    """image: uint8 [side, side, 3]. maps: the ids of saved label maps, [h, w] of the mask, by name;
    none for images that entries are fitted on."""

    sample: Labelled
    image: np.ndarray
    maps: dict[str, np.ndarray]


class _Reader:
    """Reads every second image, in threads."""

    def __init__(
        self,
        dataset: PartDataset,
        resolution: int,
        saved: Sequence[SavedRegions],
        left_out: LeftOut,
    ):
        self.left_out = left_out
        self._dataset, self._side, self._saved = dataset, resolution, saved
        self._progress = Progress(dataset.name, len(dataset))

    def count(self, *, first: int) -> int:
        """How many images `batches` reads."""
        return len(range(first, len(self._dataset), 2))

    def batches(self, *, first: int) -> Iterator[tuple[Sequence[_Seen], np.ndarray]]:
        """Samples, and their images uint8 [BATCH, side, side, 3], padded with zeros if there are
        fewer than BATCH samples."""
        chosen = range(first, len(self._dataset), 2)
        read = partial(self._read, saved=self._saved if first else ())
        for batch in in_batches(read, chosen, self.left_out, self._progress, size=BATCH):
            yield batch, padded([seen.image for seen in batch], BATCH)

    def _read(self, i: int, saved: Sequence[SavedRegions]) -> _Seen:
        sample = self._dataset.sample(i)
        size = (self._side, self._side)
        image = Image.fromarray(sample.image).resize(size, Image.Resampling.BICUBIC)
        maps = {
            regions.name: regions.read_ids(sample.name, sample.mask.shape, sample.orientation)
            for regions in saved
        }
        return _Seen(sample, np.asarray(image), maps)
