"""The vectors of all images of a split, streamed into stores, one for each source of vectors."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.data.reading import LeftOut, in_batches
from rats_jax.dictionaries.images import Images, bytes_as_texts, texts_as_bytes
from rats_jax.dictionaries.sources import COLOURS, GLOBAL, Detected, Detecting
from rats_jax.dictionaries.store import Store
from rats_jax.errors import UserError
from rats_jax.files import write_whole
from rats_jax.parts.dictionary.naming import NONE
from rats_jax.paths import printable
from rats_jax.progress import Progress
from rats_jax.voice import say

BATCH = 16
LEFT_OUT = "left_out.json"  # beside the stores of a split


class Extracted(NamedTuple):
    """A split whose images have been read. stores: by source, see `Detecting.sources`. names,
    groups: of its images."""

    images: Images
    stores: Mapping[str, Store]
    names: list[str]
    groups: list[str]


def folder_name(source: str) -> str:
    """The name of the folder or file of a source or row."""
    return re.sub(r"\W+", "_", source).strip("_")


def check_space(folder: Path, detecting: Detecting, width: int, images: int) -> None:
    """Reports how much disk the vectors need. Raises UserError if there is less."""
    values = {COLOURS: 5}
    counts = [1 if name.endswith(GLOBAL) else detecting.count for name in detecting.sources]
    sizes = [2 * values.get(name, width) + 6 for name in detecting.sources]
    needed = images * sum(count * size for count, size in zip(counts, sizes, strict=True))
    say(f"the vectors of {images:,} images take {needed / 1e9:.2f} GB, in {folder}")
    kept = sum(file.stat().st_size for file in folder.rglob("*.bin"))
    free = shutil.disk_usage(folder).free
    if needed > kept + free:
        raise UserError(
            f"the vectors need {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free: "
            "give another disk with --cache, or use fewer images with --limit"
        )


def extract(
    images: Images, detecting: Detecting, folder: Path, left_out: LeftOut, *, about: Mapping
) -> Extracted:
    """Reads the images that are not in the stores yet, in order.

    about: what the vectors depend on; stores of other vectors are refused.

    Raises:
      UserError: also if a vector is not finite, or if no image could be read.
    """
    stores = {
        source: Store.open(folder / folder_name(source), {**about, "source": source})
        for source in detecting.sources
    }
    done = {source: store.images for source, store in stores.items()}
    behind = min(stores, key=lambda source: done[source])
    at = done[behind]  # images in all stores; stores that have more skip what they have
    first = int(stores[behind].array("index")[-1]) + 1 if at else 0
    if at:
        say(f"{images.spec}: {at:,} images are in {folder} already")
    others = len(left_out.lines)  # of the other split
    if not at:
        (folder / LEFT_OUT).unlink(missing_ok=True)  # all images are read again
    for line in _kept_lines(folder):
        left_out.add(UserError(line))
    progress = Progress(images.spec, len(images), done=first)
    side, grid = detecting.settings.side, detecting.settings.grid

    def read(index: int):
        return index, images.read(index, side=side, grid=grid)

    tasks = range(first, len(images))
    for batch in in_batches(read, tasks, left_out, progress, size=BATCH):
        indices, samples = zip(*batch, strict=True)
        _keep_lines(folder, left_out.lines[others:])  # before the images that follow them
        shards = sum(len(store.shards()) for store in stores.values())
        shared = {
            "index": np.array(indices, np.int64),
            "group": texts_as_bytes([sample.group for sample in samples]),
        }
        for source, detected in detecting.detect(samples, indices).items():
            _check_finite(detected, source, [images.name(i) for i in indices])
            new = max(done[source] - at, 0)
            if new < len(indices):
                arrays = {**detected._asdict(), **shared}
                stores[source].append({name: x[new:] for name, x in arrays.items()})
        at += len(indices)
        if sum(len(store.shards()) for store in stores.values()) > shards:
            _write_all(stores)  # else a store of few values per image would hold back a resume
    _keep_lines(folder, left_out.lines[others:])
    _write_all(stores)
    if not at:
        raise UserError(f"{images.flag}={images.spec}: no image could be read")
    store = next(iter(stores.values()))
    if images.masks and (store.array("label") == NONE).all():
        raise UserError(images.without_parts("no image"))
    names = [images.name(int(i)) for i in store.array("index")]
    return Extracted(images, stores, names, bytes_as_texts(store.array("group")))


def _write_all(stores: Mapping[str, Store]) -> None:
    for store in stores.values():
        store.close()


def _kept_lines(folder: Path) -> list[str]:
    """A line for each image that was left out when the stores in the folder were written."""
    file = folder / LEFT_OUT
    try:
        return json.loads(file.read_text("utf-8")) if file.exists() else []
    except (OSError, ValueError):
        raise UserError(
            f"{printable(str(file))} is damaged: remove the folder, and the vectors are made again"
        ) from None


def _keep_lines(folder: Path, lines: list[str]) -> None:
    if not lines or lines == _kept_lines(folder):
        return
    file = folder / LEFT_OUT
    try:
        write_whole(file, json.dumps(lines), durable=True)
    except OSError as error:
        raise UserError(
            f"{printable(str(file))} cannot be written ({error.strerror}): free some space; the "
            "same command then resumes"
        ) from error


def _check_finite(detected: Detected, source: str, names: list[str]) -> None:
    for vectors, name in zip(detected.vectors, names, strict=True):
        if not np.isfinite(vectors).all():
            raise UserError(
                f"the vectors of {source} are not finite for {name}: check the weights "
                "(rats evaluate --task=norms), or remove the image"
            )
