"""entries.html, a table of a dictionary's entries, and entries/ENTRY.html: the images nearest to
each entry. They are plain HTML without a program."""

import base64
import heapq
import io
import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image

from rats_jax.gallery.entries import (
    about_dictionary,
    counted,
    entry_name,
    part_overlay,
    purity_of,
)
from rats_jax.gallery.looking import Seen
from rats_jax.parts.dictionary.part_maps import PartMap, entry_maps
from rats_jax.parts.dictionary.saved import Dictionary

_SIDE = 160  # pixels of a picture's longer side
_MOST_IMAGES = 24  # on the page of an entry
# Pictures of all entries at most, about 6 kB each, so that memory is bounded. Every entry has at
# least one, also in a dictionary with more entries.
_MOST_PICTURES = 12_000
_MOST_PICTURED = 1000  # rows of the table that have a picture


class Match(NamedTuple):
    """An image of an entry. Matches are ordered by distance, the nearest last; order: of images
    with the same distance, the earlier last. page: the file that shows the image."""

    nearness: float
    order: int
    name: str
    page: str
    detectors: int
    jpeg: bytes

    @property
    def distance(self) -> float:
        return -self.nearness


class EntryPages:
    """Collects the best images of each entry; writes the pages when all images are added."""

    def __init__(self, folder: Path, dictionary: Dictionary):
        self._folder, self._dictionary = folder, dictionary
        self._best: dict[int, list[Match]] = {}  # heaps
        self._images: dict[int, int] = {}  # of each entry, how many images have it
        self._added = 0
        most = _MOST_PICTURES // len(dictionary.entries)
        self._most = min(max(most, 1), _MOST_IMAGES)

    def add(self, one: Seen, name: str, page: str) -> None:
        """Adds an image, with what is assigned. page: the file that shows it."""
        assert one.assigned is not None
        for part in entry_maps(one.assigned):
            best = self._best.setdefault(part.key, [])
            self._images[part.key] = self._images.get(part.key, 0) + 1
            if len(best) == self._most and -part.distance <= best[0].nearness:
                continue
            match = Match(-part.distance, -self._added, name, page, part.count, _picture(one, part))
            (heapq.heappush if len(best) < self._most else heapq.heapreplace)(best, match)
        self._added += 1

    def close(self) -> None:
        """Writes the pages."""
        found = sorted(self._best)
        folder = self._folder / "entries"
        folder.mkdir()
        for place, entry in enumerate(found):
            html = self._entry_page(entry, found[place - 1 : place] + found[place + 1 : place + 2])
            (folder / f"{entry}.html").write_text(html, "utf-8")
        (self._folder / "entries.html").write_text(self._table(found), "utf-8")

    def _entry_page(self, entry: int, neighbours: Sequence[int]) -> str:
        best = sorted(self._best[entry], reverse=True)
        shown = f"the {len(best)} nearest of them" if len(best) < self._images[entry] else "all"
        facts = f"In {self._images[entry]:,} of {self._added:,} images, {shown} below"
        facts = f"{facts}; {self._numbers(entry)}."
        links = [
            '<a href="../entries.html">All entries</a>',
            f'<a href="../{best[0].page}#pin=entries:{entry}&amp;order=pinned">'
            "this entry in the images</a>",
            *(f'<a href="{n}.html">{escape(self._name(n))}</a>' for n in neighbours),
        ]
        figures = "\n".join(self._figure(entry, rank, match) for rank, match in enumerate(best, 1))
        content = f"<p>{' · '.join(links)}</p>\n<p>{facts}</p>\n<div>\n{figures}\n</div>"
        return _page(self._name(entry), content)

    def _figure(self, entry: int, rank: int, match: Match) -> str:
        address = f"../{match.page}#pin=entries:{entry}&amp;image={quote(match.name)}"
        detectors = counted(match.detectors, self._dictionary.kind)
        return (
            f'<figure><a href="{address}">{_img(match.jpeg, match.name)}</a>'
            f"<figcaption>{rank}. {escape(match.name)}<br>"
            f"distance {match.distance:.4g}, {detectors}</figcaption></figure>"
        )

    def _table(self, found: Sequence[int]) -> str:
        order = sorted(found, key=self._place)
        pictured = set(order[:_MOST_PICTURED])
        rows = "\n".join(self._row(entry, pictured=entry in pictured) for entry in order)
        heads = ("nearest image", "entry", "purity", "in training", "images here")
        head = "".join(f"<th>{title}</th>" for title in heads)
        about = f"{len(found):,} of {about_dictionary(self._dictionary)}, in {self._added:,} images"
        content = (
            f'<p><a href="index.html">Images</a></p>\n<p>{escape(about)}.</p>\n'
            f"<table>\n<tr>{head}</tr>\n{rows}\n</table>"
        )
        return _page("Entries of the dictionary", content)

    def _row(self, entry: int, *, pictured: bool) -> str:
        best = max(self._best[entry])
        purity = purity_of(self._dictionary, entry)
        cells = (
            _img(best.jpeg, best.name) if pictured else "",
            f'<a href="entries/{entry}.html">{escape(self._name(entry))}</a>',
            "" if purity is None else f"{purity:.2f}",
            f"{self._dictionary.counts[entry]:,}",
            f"{self._images[entry]:,}",
        )
        return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"

    def _place(self, entry: int) -> tuple:
        """Entries of one name are together, the purest first; those without a name are last."""
        name, purity = self._dictionary.name(entry), purity_of(self._dictionary, entry)
        return (name is None, name or "", -(purity or 0), -self._images[entry], entry)

    def _name(self, entry: int) -> str:
        return entry_name(self._dictionary, entry)

    def _numbers(self, entry: int) -> str:
        purity = purity_of(self._dictionary, entry)
        count = int(self._dictionary.counts[entry])
        text = f"{counted(count, self._dictionary.kind)} in training"
        return text if purity is None else f"{text}, purity {purity:.2f}"


def _picture(one: Seen, part: PartMap) -> bytes:
    """A JPEG of the image with the heat map of one of its entries."""
    height, width = one.image.shape[:2]
    scale = min(_SIDE / max(height, width), 1)
    size = (math.ceil(width * scale), math.ceil(height * scale))
    small = np.asarray(Image.fromarray(one.image).resize(size, Image.Resampling.BICUBIC))
    picture = Image.fromarray(part_overlay(part.map.reshape(one.grid), small))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75, optimize=True)
    return file.getvalue()


def _img(jpeg: bytes, name: str) -> str:
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img loading="lazy" alt="{escape(name)}" src="data:image/jpeg;base64,{data}">'


def _page(title: str, content: str) -> str:
    html = (files("rats_jax.gallery") / "files" / "entry.html").read_text("utf-8")
    return html.replace("<!-- title -->", escape(title)).replace("<!-- content -->", content)
