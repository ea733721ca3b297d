"""Writes drawings to files, as a data set of images with part masks."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from rats_jax.procedural_parts import ProceduralParts

QUALITY = 92  # JPEG quality
CHUNK = 64  # drawings that a process makes at a time


def write_folder(
    folder: Path,
    *,
    count: int,
    size: int,
    seed: int,
    kind: type[ProceduralParts] = ProceduralParts,
) -> Iterator[int]:
    """Writes images/CATEGORY/NUMBER.jpg and masks/CATEGORY/NUMBER.png for `count` drawings.

    Yields the number of drawings written so far. Masks contain the values of `Sample.parts`.

    For training, `folder`/images is an image_folder with a class for each category. As a data set
    with part masks it is folder:`folder`. Drawings are the same for any number of processes.
    """
    source = kind(size=size, length=count, seed=seed)
    for files in ("images", "masks"):
        for label in range(len(source.classes)):
            (folder / files / _category(source, label)).mkdir(parents=True, exist_ok=True)
    # Not by fork, which is unsafe if JAX or other libraries have threads.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        write = partial(_write, folder, source)
        for done, _ in enumerate(pool.map(write, range(count), chunksize=CHUNK), 1):
            yield done


def _write(folder: Path, source: ProceduralParts, index: int) -> None:
    drawn = source.sample(index)
    name = f"{_category(source, drawn.label)}/{index:06d}"
    Image.fromarray(drawn.image).save(folder / "images" / f"{name}.jpg", quality=QUALITY)
    Image.fromarray(drawn.parts).save(folder / "masks" / f"{name}.png")


def _category(source: ProceduralParts, label: int) -> str:
    return f"{label:02d}_{source.classes[label].replace(' ', '_')}"
