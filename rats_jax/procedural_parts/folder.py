"""Writes drawings to files, as a data set of images with part masks."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from rats_jax.procedural_parts.scene import render
from rats_jax.procedural_parts.taxonomy import SUPER_CATEGORIES

QUALITY = 92  # JPEG quality
CHUNK = 64  # drawings that a process makes at a time


def write_folder(folder: Path, *, count: int, size: int, seed: int) -> Iterator[int]:
    """Writes images/CATEGORY/NUMBER.jpg and masks/CATEGORY/NUMBER.png for `count` drawings.

    Yields the number of drawings written so far. Masks contain the values of `Sample.parts`.

    For training, `folder`/images is an image_folder with a class for each category. As a data set
    with part masks it is folder:`folder`. Drawings are the same for any number of processes.
    """
    for kind in ("images", "masks"):
        for label in range(len(SUPER_CATEGORIES)):
            (folder / kind / _category(label)).mkdir(parents=True, exist_ok=True)
    # Not by fork, which is unsafe if JAX or other libraries have threads.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        write = partial(_write, folder, size, seed)
        for done, _ in enumerate(pool.map(write, range(count), chunksize=CHUNK), 1):
            yield done


def _write(folder: Path, size: int, seed: int, index: int) -> None:
    drawn = render(seed=seed, index=index, size=size)
    name = f"{_category(drawn.label)}/{index:06d}"
    Image.fromarray(drawn.image).save(folder / "images" / f"{name}.jpg", quality=QUALITY)
    Image.fromarray(drawn.parts).save(folder / "masks" / f"{name}.png")


def _category(label: int) -> str:
    return f"{label:02d}_{SUPER_CATEGORIES[label].replace(' ', '_')}"
