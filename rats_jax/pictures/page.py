"""One HTML page for a folder of images, in which regions are made anew for any K.

The page holds its pictures, maps and program, and asks nothing of a network. files/regions.js does
what rats_jax/evals/regions.py does; a map travels as `pack` writes it.
"""

import base64
import io
import json
import zlib
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from PIL import Image

from rats_jax.pictures.maps import SMOOTHING, MapSet
from rats_jax.pictures.overlays import PALETTE
from rats_jax.pictures.sheets import HEAT

_SIDE = 512  # pixels of a picture's longer side, at most
# Of an image's maps, in base64, for each patch: so that 20 images of 32 x 32 patches stay below
# 5 MB with their JPEGs, whatever the number of registers. Trained maps mostly need less.
_BYTES = 165
_LEVELS = (255, 127, 63, 31)


def page_image(
    name: str, image: np.ndarray, sets: Sequence[MapSet], *, grid: tuple[int, int]
) -> dict:
    """An image's part of the page, without its principal components ("pca", see `pca_text`)."""
    picture = Image.fromarray(image)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=72, optimize=True)
    size = {"width": picture.width, "height": picture.height, "grid": grid}
    return {
        "name": name,
        **size,
        "jpeg": _text(jpeg.getvalue()),
        "sets": [{"kept": s.kept.tolist()} | pack(s.maps, grid=grid) for s in sets],
    }


def pca_text(colours: np.ndarray) -> str:
    """uint8 [L, 3] for the page."""
    return _text(colours.tobytes())


def pack(maps: np.ndarray, *, grid: tuple[int, int]) -> dict:
    """Maps [M, L] as whole numbers 0..levels, each between its own lowest and highest value.

    Of a number the mean of its left and upper neighbours is taken off (modulo 256), which leaves
    what zlib can make smaller. levels: the most of 255, 127, 63, 31 that stays within the page's
    bounds.

    Returns:
      {low, high: M numbers; levels; data: base64 of zlib of uint8 [M, L]}.
    """
    low, high = maps.min(1), maps.max(1)
    span = np.maximum(high - low, 1e-12)[:, None]
    for levels in _LEVELS:
        numbers = np.round((maps - low[:, None]) / span * levels).astype(np.uint8)
        data = _text(zlib.compress(_residues(numbers.reshape(-1, *grid)).tobytes(), 9))
        if len(data) <= _BYTES * maps.shape[1]:
            break
    return {"low": low.tolist(), "high": high.tolist(), "levels": levels, "data": data}


def page(*, origin: str, sets: Sequence[MapSet], top_k: int, images: Sequence[dict]) -> str:
    """The HTML. origin: of the model, for people. sets: of any of the images, for what maps there
    are and what they are called. top_k: where the slider stands first. images: of `page_image`,
    with "pca"."""
    data = {
        "origin": origin,
        "sigma": SMOOTHING,
        "palette": PALETTE.tolist(),
        "heat": HEAT.tolist(),
        "topK": top_k,
        "sets": [
            {"title": s.title, "quantity": s.quantity, "labels": s.labels, "names": s.names}
            for s in sets
        ],
        "images": images,
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no tag ends the script
    folder = files("rats_jax.pictures") / "files"
    html = (folder / "page.html").read_text("utf-8")
    for name in ("page.css", "regions.js", "drawing.js", "card.js", "page.js"):
        html = html.replace(f"/* {name} */", (folder / name).read_text("utf-8"))
    return html.replace("/* data */", text)


def _residues(numbers: np.ndarray) -> np.ndarray:
    """uint8 [M, h, w], each less the mean of its left and upper neighbour, rounded down; at the
    edges less the one that there is."""
    wide = numbers.astype(np.int16)
    expected = np.zeros_like(wide)
    expected[:, 0, 1:] = wide[:, 0, :-1]
    expected[:, 1:, 0] = wide[:, :-1, 0]
    expected[:, 1:, 1:] = (wide[:, 1:, :-1] + wide[:, :-1, 1:]) // 2
    return (wide - expected).astype(np.uint8)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
