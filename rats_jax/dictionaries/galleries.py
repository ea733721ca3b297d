"""Pictures of a dictionary of parts: where its entries are found in images.

Shape letters: S images, N registers, E entries, h w patches. `entries` int [S, N] and `squares`
float [S, N] are the nearest entry of each register and its squared distance, see
`rats_jax.parts.dictionary.kmeans.nearest`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.pictures.sheets import sheet

_TINT = np.array([220, 30, 0], np.float32)
_STRONGEST = 0.8  # share of the tint where the map is 1
_PALE = 0.35  # share of white


class Place(NamedTuple):
    """A register of an image."""

    image: int
    register: int


class Seen(NamedTuple):
    """What is drawn of a place: its image uint8 [H, W, 3], the register's map [h, w] from 0 to 1,
    and a caption, such as the category of the image."""

    image: np.ndarray
    map: np.ndarray
    caption: str = ""


def best_places(
    entries: np.ndarray,
    squares: np.ndarray,
    entry: int,
    count: int,
    *,
    images: np.ndarray | None = None,
) -> list[Place]:
    """The registers nearest to an entry among those assigned to it, one of each image, the nearest
    first; fewer than `count` if it is in fewer images. images: bool [S], which may be taken."""
    distance = np.where(entries == entry, squares, np.inf)
    if images is not None:
        distance = np.where(images[:, None], distance, np.inf)
    register = distance.argmin(1)
    least = distance[np.arange(len(distance)), register]
    order = np.argsort(least, kind="stable")[:count]
    return [Place(int(i), int(register[i])) for i in order if np.isfinite(least[i])]


def transferred_places(
    entries: np.ndarray, squares: np.ndarray, groups: np.ndarray, entry: int, count: int
) -> tuple[int, list[Place], list[Place]]:
    """An entry across categories, as in the paper's Figure 12.

    groups: int [S], the category of each image.

    Returns the category with the most images that have the entry, its best places there, and its
    best places in images of other categories: first the best of each category, then the second.
    """
    having = (entries == entry).any(1)
    if not having.any():
        return -1, [], []
    ids, images = np.unique(groups[having], return_counts=True)
    home = int(ids[images.argmax()])
    here = best_places(entries, squares, entry, count, images=groups == home)
    elsewhere, rank = [], dict.fromkeys(ids.tolist(), 0)
    for place in best_places(entries, squares, entry, len(groups), images=groups != home):
        group = int(groups[place.image])
        elsewhere.append((rank[group], place))
        rank[group] += 1
    elsewhere.sort(key=lambda ranked: ranked[0])  # stable: the nearest first in each rank
    return home, here, [place for _, place in elsewhere[:count]]


def title_of(dictionary: Dictionary, entry: int) -> str:
    """Such as "entry 17: dog head, purity 0.83, 1,204 registers"."""
    name, purity = dictionary.name(entry), float(dictionary.purity[entry])
    parts = [f"entry {entry}: {name}" if name else f"entry {entry}"]
    if name and np.isfinite(purity):
        parts.append(f"purity {purity:.2f}")
    parts.append(f"{int(dictionary.counts[entry]):,} {dictionary.kind}")
    return ", ".join(parts)


def gallery(
    rows: Sequence[tuple[str, Sequence[Seen]]], *, side: int = 128, columns: int = 8
) -> Image.Image:
    """A titled row for each entry, or several, of images that are tinted where the map is high.

    The same function makes the sheet of one entry (one row of many places), the page of many
    entries (a row each), and transfer between categories (two rows an entry); rows without places
    are left out. Save it with `rats_jax.pictures.overlays.save_png`.
    """
    cells = [
        (title, [(seen.caption, highlighted(seen.image, seen.map, side=side)) for seen in places])
        for title, places in rows
        if places
    ]
    if not cells:
        raise ValueError("there is no place to draw")
    return sheet(cells, side=side, columns=columns)


def highlighted(image: np.ndarray, map_: np.ndarray, *, side: int) -> np.ndarray:
    """The image in pale grey, tinted red where the map [h, w] is high; uint8 with `side` pixels on
    its longer side. It is grey, because a tint over colours would look different in each image."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), np.float32)
    share = Image.fromarray(map_.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    share = _STRONGEST * np.clip(np.asarray(share), 0, 1)[..., None]
    pale = 255 * _PALE + (1 - _PALE) * large.mean(-1, keepdims=True)
    return np.round(share * _TINT + (1 - share) * pale).astype(np.uint8)
