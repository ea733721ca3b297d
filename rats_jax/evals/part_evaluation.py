"""Part discovery on a data set: the work of python -m rats_jax.evaluate --task=parts."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.command_line import say
from rats_jax.errors import UserError
from rats_jax.evals.datasets import VOID, Labelled, PartDataset
from rats_jax.evals.parts import region_maps, score_table
from rats_jax.evals.region_metrics import RegionScores, mean_scores, score
from rats_jax.evals.regions import grid_regions, resize_labels
from rats_jax.models import Features

USUAL_K = (6, 12, 33, 96)  # the paper's Table 1
SMOOTHING = 1.0  # patches
BATCH = 16

Regions = dict[int, dict[str, RegionScores]]  # K -> way of making regions -> scores


class Scored(NamedTuple):
    """An image's scores."""

    name: str
    group: str | None
    scores: Regions


class PartScores(NamedTuple):
    """images: in the order of the data set. skipped: why, of each that could not be read."""

    images: list[Scored]
    skipped: list[str]

    def ways(self) -> Iterator[tuple[int, str, list[RegionScores]]]:
        """(K, way, the scores of all images)."""
        for k, ways in self.images[0].scores.items():
            for way in ways:
                yield k, way, [image.scores[k][way] for image in self.images]


def numbers_of_regions(
    given: Sequence[str] | None, options: Mapping, *, patches: int
) -> tuple[int, ...]:
    """The values of K, rising: those given, or the usual ones that the model can have. Raises
    UserError.

    patches: of an image, for k-means can have no more regions.
    """
    heads = options["heads"]
    registers = {
        "rats": lambda: heads * options["registers_per_head"],
        "perceiver": lambda: options["queries"],
        "vit": lambda: patches,
    }[options["architecture"]]()
    most = min(registers, patches)
    if given is None:
        usual = {*USUAL_K, heads} if options["architecture"] == "vit" else {*USUAL_K}
        return tuple(sorted(k for k in usual if k <= most)) or (most,)
    if not given or not all(k.strip().isdecimal() and 1 <= int(k) <= most for k in given):
        what = f"{registers} registers" if most == registers else f"{patches} patches an image"
        raise UserError(
            f"--top_k={','.join(given)}: the model has {what}; choose numbers from 1 to {most}"
        )
    return tuple(sorted({int(k) for k in given}))


def evaluate_parts(
    models: Mapping[str, Backbone],
    dataset: PartDataset,
    *,
    top_k: Sequence[int],
    resolution: int,
    skip_broken: bool,
) -> PartScores:
    """Scores the regions of models of one shape, and a grid, at each K.

    models: by the name they have in the results. Images are squeezed to `resolution` x `resolution`
    (the paper's 512); regions are brought to the size of the mask, in which they are scored.
    Reading and scoring go on in threads while the device computes.

    Raises:
      UserError: of the first sample that is broken, unless they are skipped; if none is left.
    """
    side = resolution // next(iter(models.values())).options["patch"]
    look = {name: model.looking(_watched(model.options)) for name, model in models.items()}
    images: list[Future] = []
    skipped: list[str] = []
    with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool:
        try:
            starts = range(0, len(dataset), BATCH)
            coming = _read(pool, dataset, starts[0])
            for start in starts:
                reading = coming
                coming = _read(pool, dataset, start + BATCH)
                samples = _arrived(reading, skipped, skip_broken)
                if not samples:
                    continue
                batch = np.stack([_squeezed(s.image, resolution) for s in samples])
                features = {name: _features(look[name], batch) for name in models}
                maps = _patch_maps(features, top_k, grid=(side, side))
                for i, sample in enumerate(samples):
                    of_image = {k: {w: m[i] for w, m in ways.items()} for k, ways in maps.items()}
                    images.append(pool.submit(_scored, sample, of_image))
                say(f"{min(start + BATCH, len(dataset))} of {len(dataset)} images")
            scored = [image.result() for image in images]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not scored:
        raise UserError(f"no image of {dataset.name} could be read; the first: {skipped[0]}")
    return PartScores(scored, skipped)


def _watched(options: Mapping) -> tuple[int, ...]:
    """A ViT's regions are made of its last attention, those of others of their registers."""
    return (options["depth"] - 1,) if options["architecture"] == "vit" else ()


def _read(pool: ThreadPoolExecutor, dataset: PartDataset, start: int) -> list[Future]:
    stop = min(start + BATCH, len(dataset))
    return [pool.submit(dataset.sample, i) for i in range(start, stop)]


def _arrived(reading: Sequence[Future], skipped: list[str], skip_broken: bool) -> list[Labelled]:
    samples = []
    for sample in reading:
        try:
            samples.append(sample.result())
        except UserError as error:
            if not skip_broken:
                raise UserError(f"{error} (or leave it out with --skip-broken)") from None
            say(f"warning: skipped: {error}")
            skipped.append(str(error))
    return samples


def _squeezed(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _features(look: Callable, images: np.ndarray) -> Features:
    """Of whole batches, so that one program is compiled."""
    padded = np.pad(images, ((0, BATCH - len(images)), (0, 0), (0, 0), (0, 0)))
    return jax.tree.map(lambda x: np.asarray(x)[: len(images)], look(padded))


def _patch_maps(
    features: Mapping[str, Features], top_k: Sequence[int], *, grid: tuple[int, int]
) -> dict[int, dict[str, np.ndarray]]:
    """K -> way -> int [B, h, w]"""
    return {
        k: {
            f"{name}: {way}": maps
            for name, of_model in features.items()
            for way, maps in region_maps(
                of_model, grid=grid, k=k, sigma=SMOOTHING, size=None
            ).items()
        }
        for k in top_k
    }


def _scored(sample: Labelled, maps: Mapping[int, Mapping[str, np.ndarray]]) -> Scored:
    size = sample.mask.shape

    def scores(k: int, ways: Mapping[str, np.ndarray]) -> dict[str, RegionScores]:
        regions = {way: resize_labels(labels, size) for way, labels in ways.items()}
        regions["grid"] = grid_regions(size=size, k=k)
        return {way: score(labels, sample.mask, void=VOID) for way, labels in regions.items()}

    return Scored(sample.name, sample.group, {k: scores(k, ways) for k, ways in maps.items()})


def write_results(folder: Path, found: PartScores, *, about: Mapping) -> str:
    """results.json, table.md, images.csv and, where images have classes, classes.csv. Returns the
    table. about: plain values, how the scores came about."""
    rows = [(k, way, mean_scores(scores)) for k, way, scores in found.ways()]
    results = {**about, "images": len(found.images), "skipped": found.skipped, "scores": {}}
    for k, way, mean in rows:
        parts = {part: getattr(mean, part)._asdict() for part in ("mean", "low", "high")}
        results["scores"].setdefault(str(k), {})[way] = parts | {"images": mean.images}
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    table = score_table(rows)
    (folder / "table.md").write_text(table + "\n")
    _write_csv(folder / "images.csv", "name", [(image.name, image) for image in found.images])
    if any(image.group for image in found.images):
        of_class = sorted(found.images, key=lambda image: image.group or "")
        _write_csv(folder / "classes.csv", "class", [(i.group or "", i) for i in of_class])
    return table


def _write_csv(file: Path, first: str, images: Sequence[tuple[str, Scored]]) -> None:
    """A line for each name, K and way, with the means over the images of that name."""
    values: dict[tuple, list[RegionScores]] = {}
    for name, image in images:
        for k, ways in image.scores.items():
            for way, scores in ways.items():
                values.setdefault((name, k, way), []).append(scores)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([first, "k", "regions", "images", *RegionScores._fields])
        for key, scores in values.items():
            array = np.asarray(scores)
            array = array[~np.isnan(array).any(1)]
            mean = [f"{x:.6f}" for x in array.mean(0)] if len(array) else [""] * 3
            writer.writerow([*key, len(array), *mean])
