"""HTML pages of images, in which regions are recomputed for any K.

A page holds its pictures, maps and program, and needs no network. files/regions.js computes the
same as rats_jax/parts/regions.py; maps are stored as `pack` writes them.
"""

import base64
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from rats_jax.gallery.entries import page_dictionary
from rats_jax.gallery.maps import SMOOTHING, MapSet
from rats_jax.parts.dictionary.part_maps import Assigned, entry_maps
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.pictures.overlays import PALETTE
from rats_jax.pictures.sheets import HEAT

_SIDE = 512  # pixels of a picture's longer side, at most
_JPEG_BYTES, _QUALITIES = 33_000, (72, 60, 50, 40)  # the first quality with so many bytes at most
# Bytes of the maps of an image per patch, in base64; with a dictionary, the maps of entries have a
# part of them. For the 96 registers of RATS-S, 100 images of 32 x 32 patches then stay below 15 MB
# with their JPEGs. Fewer levels would change regions, so more registers make larger pages.
_BYTES, _ENTRY_BYTES = 90, 40
_LEVELS = (255, 127, 63, 31, 15)
_ENTRY_LEVELS = (*_LEVELS, 7)  # their regions are not scored
_PARTS = (
    "page.css",
    *(f"{name}.js" for name in "regions entries drawing sets card pins page".split()),
)
#: Approximate bytes of a page that a browser opens within seconds. More images go to a new page.
MOST = 30_000_000


class Pages:
    """index.html, index_2.html, ... in a folder. Each is written when it is full, so memory is
    bounded for any number of images."""

    def __init__(self, folder: Path, **about):
        """about: the arguments of `page` that all pages share."""
        self._folder, self._about = folder, about
        self._images: list[dict] = []
        self._size, self._number = 0, 1

    def add(self, image: dict) -> str:
        """Adds an image, as `page_image` returns it. Returns the file of its page."""
        size = len(json.dumps(image))
        if self._images and self._size + size > MOST:
            self._write(is_last=False)
            self._images, self._size, self._number = [], 0, self._number + 1
        self._images.append(image)
        self._size += size
        return _file_name(self._number)

    def close(self, note: str = "") -> int:
        """Writes the last page, which shows the note. Returns the number of pages."""
        self._write(is_last=True, note=note)
        return self._number

    def _write(self, *, is_last: bool, note: str = "") -> None:
        number = self._number
        neighbours = {
            "previous": _file_name(number - 1) if number > 1 else None,
            "next": None if is_last else _file_name(number + 1),
        }
        html = page(images=self._images, note=note, neighbours=neighbours, **self._about)
        file = self._folder / _file_name(number)
        try:
            file.write_text(html, "utf-8")
        except OSError:  # an incomplete page shows nothing
            file.unlink(missing_ok=True)
            raise


def _file_name(number: int) -> str:
    return "index.html" if number == 1 else f"index_{number}.html"


def page_image(
    name: str,
    image: np.ndarray,
    sets: Sequence[MapSet],
    *,
    grid: tuple[int, int],
    pca: np.ndarray,
    assigned: Assigned | None = None,
) -> dict:
    """The data of one image on the page. pca: uint8 [L, 3], the colours of its patches. assigned:
    its entries, if there is a dictionary."""
    picture = Image.fromarray(image)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    most = _BYTES if assigned is None else _BYTES - _ENTRY_BYTES
    size = {"width": picture.width, "height": picture.height, "grid": grid}
    return {
        "name": name,
        **size,
        "jpeg": _text(_jpeg(picture)),
        "sets": [
            {"kept": s.kept.tolist()} | pack(s.maps, grid=grid, root=s.scale.log, most=most)
            for s in sets
        ],
        "pca": _text(pca.tobytes()),
    } | ({} if assigned is None else {"entries": _entries(assigned, grid)})


def _jpeg(picture: Image.Image) -> bytes:
    for quality in _QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= _JPEG_BYTES:
            break
    return file.getvalue()


def _entries(assigned: Assigned, grid: tuple[int, int]) -> dict:
    found = entry_maps(assigned)
    maps = np.array([one.map for one in found], np.float32).reshape(len(found), grid[0] * grid[1])
    return {
        "kept": [one.key for one in found],
        "counts": [one.count for one in found],
        "distances": [float(f"{one.distance:.4g}") for one in found],
    } | pack(maps, grid=grid, root=True, most=_ENTRY_BYTES, steps=_ENTRY_LEVELS)


def pack(
    maps: np.ndarray,
    *,
    grid: tuple[int, int],
    root: bool = False,
    most: int = _BYTES,
    steps: Sequence[int] = _LEVELS,
) -> dict:
    """Packs maps [M, L] as whole numbers 0..levels, from the lowest to the highest value of each
    map.

    From each number the mean of its left and upper neighbours is subtracted (modulo 256), so that
    zlib compresses better. levels: the first of `steps` with which the data has at most `most`
    bytes per patch, else the last. root: the numbers are even steps of the square root, which suits
    a logarithmic scale: a map with a sharp peak keeps the differences between its low values.

    Returns:
      {low, high: M numbers; levels; root; data: base64 of zlib of uint8 [M, L]}.
    """
    ends = {"low": _short(maps.min(1)), "high": _short(maps.max(1))}
    maps = np.sqrt(maps) if root else maps
    low, high = maps.min(1), maps.max(1)
    span = np.maximum(high - low, 1e-12)[:, None]
    for levels in steps:
        numbers = np.round((maps - low[:, None]) / span * levels).astype(np.uint8)
        data = _text(zlib.compress(_residues(numbers.reshape(-1, *grid)).tobytes(), 9))
        if len(data) <= most * maps.shape[1]:
            break
    return ends | {"levels": levels, "root": root, "data": data}


def page(
    *,
    origin: str,
    sets: Sequence[MapSet],
    top_k: int,
    pca: str,
    images: Sequence[dict],
    dictionary: Dictionary | None = None,
    note: str = "",
    neighbours: Mapping[str, str | None] | None = None,
) -> str:
    """The HTML of one page.

    origin: text about the model. sets: of any image; only the kinds and names of the maps are used.
    top_k: where the slider starts. pca: text about the variance that the principal components
    explain. images: as `page_image` returns them. dictionary: whose entries the images have.
    note: text about the images. neighbours: the files of the "previous" and the "next"
    page.
    """
    data = {
        "origin": origin,
        "note": note,
        "neighbours": dict(neighbours or {}),
        "pca": pca,
        "sigma": SMOOTHING,
        "palette": PALETTE.tolist(),
        "heat": HEAT.tolist(),
        "topK": top_k,
        "sets": [
            {"title": s.title, "unit": s.unit, "labels": s.labels, "names": s.names}
            | {"scale": s.scale._asdict()}
            for s in sets
        ],
        "dictionary": None if dictionary is None else page_dictionary(dictionary, images),
        "images": images,
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no tag ends the script
    folder = files("rats_jax.gallery") / "files"
    html = (folder / "page.html").read_text("utf-8")
    for name in _PARTS:
        html = html.replace(f"/* {name} */", (folder / name).read_text("utf-8"))
    return html.replace("/* data */", text)


def _residues(numbers: np.ndarray) -> np.ndarray:
    """uint8 [M, h, w]: each number minus the mean of its left and upper neighbours, rounded down.
    At an edge with only one of these, minus that one."""
    wide = numbers.astype(np.int16)
    expected = np.zeros_like(wide)
    expected[:, 0, 1:] = wide[:, 0, :-1]
    expected[:, 1:, 0] = wide[:, :-1, 0]
    expected[:, 1:, 1:] = (wide[:, 1:, :-1] + wide[:, :-1, 1:]) // 2
    return (wide - expected).astype(np.uint8)


def _short(values: np.ndarray) -> list[float]:
    """Float32 values, exactly, with few digits as text."""
    return [float(str(value)) for value in values.astype(np.float32)]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
