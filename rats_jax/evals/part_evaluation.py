"""Part discovery on a data set, computed for python -m rats_jax.evaluate --task=parts."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.data.reading import LeftOut, in_batches, padded
from rats_jax.errors import UserError
from rats_jax.evals.part_scores import Measured, PartScores, Row, Scored
from rats_jax.evals.patch_features import check_finite
from rats_jax.models import Features
from rats_jax.models.options import Options
from rats_jax.parts.datasets import VOID, Labelled, PartDataset
from rats_jax.parts.null_regions import grid_regions, slic_regions
from rats_jax.parts.region_metrics import score
from rats_jax.parts.regions import resize_labels
from rats_jax.parts.saved_regions import SavedRegions
from rats_jax.parts.truth import check, total, truth_of
from rats_jax.parts.ways import RegionOptions, region_maps
from rats_jax.progress import Progress
from rats_jax.voice import say

BATCH = 16  # images read together
EARLY = 4 * BATCH  # images after which a warning is printed if the masks are of no use
_PATCHES = 1024 * BATCH  # largest number of patches in one forward pass

Look = Callable[[np.ndarray], Features]


class _Seen(NamedTuple):
    """A sample, prepared. squeezed: resolution -> the image as models see it. saved: name -> saved
    regions, in the size of the mask."""

    sample: Labelled
    squeezed: dict[int, np.ndarray]
    saved: dict[str, np.ndarray]


def evaluate_parts(
    models: Mapping[str, Backbone],
    dataset: PartDataset,
    *,
    top_k: Sequence[int],
    resolutions: Sequence[int],
    options: RegionOptions,
    saved: Sequence[SavedRegions],
    skip_broken: bool,
) -> PartScores:
    """Scores the regions of models of one shape, of a grid and of SLIC, at each K. Also scores
    saved regions, and a grid and SLIC with the same number of regions.

    models: by their names in the results. Images are resized to `resolution` x `resolution` (512 in
    the paper), without keeping the aspect ratio; regions are resized to the mask, and scored there.
    Threads read, compute SLIC and score while the device computes. Each file is read once.

    Raises:
      UserError: the first sample that is broken, unless these are skipped; no sample is left, or
        none has two regions, see `truth.check`; features that are not finite.
    """
    look = {name: _looking(model, options) for name, model in models.items()}
    shape = next((model.options for model in models.values()), None)
    label = partial(_label_maps, look, shape=shape, top_k=top_k, options=options)
    images: list[Scored] = []
    left_out = LeftOut(skip_broken=skip_broken)
    score_image = partial(_scored, top_k=top_k, background=dataset.background)
    read = partial(_seen, dataset, resolutions=resolutions, saved=saved)
    progress = Progress(dataset.name, len(dataset))
    reading = in_batches(read, range(len(dataset)), left_out, progress, size=BATCH)

    def finished(work: Iterable[Future]) -> Iterator[Scored]:
        for one in work:
            try:
                yield one.result()
            except UserError as error:
                left_out.add(error)

    with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool, closing(reading):
        try:
            scoring = deque()
            for seen in reading:
                maps: list[dict[Row, np.ndarray]] = [{} for _ in seen]
                for resolution in resolutions:
                    squeezed = np.stack([one.squeezed[resolution] for one in seen])
                    for row, labels in label(squeezed).items():
                        for of_image, of_row in zip(maps, labels, strict=True):
                            of_image[row] = of_row
                scoring.append(
                    [pool.submit(score_image, *one) for one in zip(seen, maps, strict=True)]
                )
                if len(scoring) > 2:  # few, since errors appear only here and maps take memory
                    images += finished(scoring.popleft())
                    if len(images) >= EARLY > len(images) - BATCH:
                        _warn_early(images, of=dataset.name)
            for work in scoring:
                images += finished(work)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not images:
        raise UserError(
            f"no image of {dataset.name} could be read; the first error: {left_out.lines[0]}"
        )
    found = PartScores(images, left_out.lines)
    check(found.truth, of=dataset.name)
    return found


def _warn_early(images: Sequence[Scored], *, of: str) -> None:
    """Warns early of an error in the masks, which would otherwise show only at the end."""
    try:
        check(total(image.truth for image in images), of=f"the first {len(images)} of {of}")
    except UserError as error:
        say(f"warning: {error}")


def _seen(
    dataset: PartDataset, i: int, resolutions: Sequence[int], saved: Sequence[SavedRegions]
) -> _Seen:
    sample = dataset.sample(i)
    image = Image.fromarray(sample.image)
    bicubic = Image.Resampling.BICUBIC
    return _Seen(
        sample,
        {side: np.asarray(image.resize((side, side), bicubic)) for side in resolutions},
        {
            regions.name: regions.read(sample.name, sample.mask.shape, sample.orientation)
            for regions in saved
        },
    )


def _looking(model: Backbone, options: RegionOptions) -> Look:
    """The function that computes what regions are made from: for a ViT its last attention, for
    other models their registers."""
    last = (model.options.depth - 1,)
    attention_of = (model.options.attended_layer,) if model.options.has_cls else ()
    return model.looking(attention_of, last if options.norm == "pre" else ())


def _label_maps(
    look: Mapping[str, Look],
    images: np.ndarray,
    *,
    shape: Options,
    top_k: Sequence[int],
    options: RegionOptions,
) -> dict[Row, np.ndarray]:
    """Labels [n, ...] of patches or of pixels, for n images uint8 [n, S, S, 3]. shape: the options
    of a backbone, of which those that count here are the same for all."""
    side = images.shape[1]
    grid = (side // shape.patch, side // shape.patch)
    size = (side, side) if options.argmax == "pixel" else None
    together = BATCH
    while together > 1 and together * grid[0] * grid[1] > _PATCHES:
        together //= 2
    maps: dict[Row, list[np.ndarray]] = defaultdict(list)
    for start in range(0, len(images), together):
        batch = images[start : start + together]
        whole = padded(batch, together)
        for name, model in look.items():
            features = model(whole)
            for of in (features.registers, features.patches):
                check_finite(np.asarray(of), name)
            for k in top_k:
                ways = region_maps(
                    features, has_cls=shape.has_cls, grid=grid, k=k, size=size, options=options
                )
                for way, labels in ways.items():
                    small = labels[: len(batch)].astype(np.min_scalar_type(k - 1))
                    maps[Row(k, side, f"{name}: {way}")].append(small)
    return {row: np.concatenate(labels) for row, labels in maps.items()}


def _scored(
    seen: _Seen, maps: Mapping[Row, np.ndarray], top_k: Sequence[int], background: int | None
) -> Scored:
    sample, size = seen.sample, seen.sample.mask.shape

    def measured(labels: np.ndarray) -> Measured:
        regions = int(np.count_nonzero(np.bincount(labels.ravel())))
        scores = score(labels, sample.mask, void=VOID, background=background)
        return Measured(scores, regions)

    def nulls(k: int) -> dict[str, Measured]:
        slic = resize_labels(slic_regions(sample.image, k=k), size)
        return {"grid": measured(grid_regions(size=size, k=k)), "SLIC": measured(slic)}

    rows = {row: measured(resize_labels(labels, size)) for row, labels in maps.items()}
    try:
        for k in top_k:
            rows |= {Row(k, None, way): of_way for way, of_way in nulls(k).items()}
        for name, labels in seen.saved.items():
            own = measured(labels)
            rows[Row("own", None, name)] = own
            for way, of_way in nulls(own.regions).items():
                rows[Row("own", None, f"{way} like {name}")] = of_way
    except UserError as error:
        raise UserError(f"{sample.name}: {error}") from None
    has_background = background is not None and bool((sample.mask == background).any())
    return Scored(sample.name, sample.group, rows, truth_of(sample), has_background)
