"""What the entries of a dictionary are on the pages of images, and sheets of named heat maps."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rats_jax.gallery.looking import Seen
from rats_jax.parts.dictionary.part_maps import named_maps
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.pictures.sheets import Scale, heat, over, sheet

#: Maps of detectors are scaled to their own range, see `detectors.scaled`.
PART = Scale(0, 1, unit="of the map's largest value")
_LEAST = 0.2  # opacity where a map is 0: the image stays visible there


def names_of(dictionary: Dictionary) -> list[str]:
    """Each name of an entry once, in order of the entries."""
    names = (dictionary.name(entry) for entry in range(len(dictionary.entries)))
    return list(dict.fromkeys(name for name in names if name is not None))


def entry_name(dictionary: Dictionary, entry: int) -> str:
    name = dictionary.name(entry)
    return f"entry {entry}" + (f", {name}" if name else "")


def about_dictionary(dictionary: Dictionary) -> str:
    """A text for people: how many entries and names it has, and what it was made from."""
    text = f"{len(dictionary.entries):,} entries"
    if names := names_of(dictionary):
        text += f", named after {len(names):,} parts"
    train = dictionary.about.get("train")
    return text + (f", made from {train}" if train else "")


def page_dictionary(dictionary: Dictionary, images: Sequence[dict]) -> dict:
    """The data of the dictionary on a page: of the entries that its images have. names: whether any
    entry of the dictionary has a name. entries: part is a place in `parts`, -1 for none."""
    names = names_of(dictionary)
    places = {name: place for place, name in enumerate(names)}
    found = sorted({entry for image in images for entry in image["entries"]["kept"]})
    return {
        "about": about_dictionary(dictionary),
        "names": bool(names),
        "units": dictionary.kind,
        "scale": PART._asdict(),
        "parts": names,
        "entries": {
            entry: {
                "part": places.get(dictionary.name(entry) or "", -1),
                "purity": purity_of(dictionary, entry),
                "count": int(dictionary.counts[entry]),
            }
            for entry in found
        },
    }


def purity_of(dictionary: Dictionary, entry: int) -> float | None:
    purity = float(dictionary.purity[entry])
    return round(purity, 4) if np.isfinite(purity) else None


def part_overlay(part: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The heat map [h, w] of a part over an image in grey, more opaque where the map is stronger;
    uint8 of the image's size."""
    opacity = np.round(255 * (_LEAST + (0.8 - _LEAST) * part)).astype(np.uint8)
    size = image.shape[1::-1]
    large = Image.fromarray(opacity).resize(size, Image.Resampling.NEAREST)
    return over(heat(part, PART), image, alpha=np.asarray(large)[..., None] / 255)


def counted(count: int, units: str) -> str:
    """A count with its unit: "1 register", "2 registers"."""
    one = "entry" if units == "entries" else units[:-1]
    return f"{count:,} {one if count == 1 else units}"


def named_sheet(one: Seen, name: str, dictionary: Dictionary) -> Image.Image:
    """The image, and a heat map of each part that is found in it; of each entry, if the dictionary
    has no names. one: with what is assigned."""
    assert one.assigned is not None
    found = named_maps(one.assigned, dictionary)
    cells = [("image", one.image)]
    for part in found:
        cells.append(
            (f"{part.key}: {part.count}", part_overlay(part.map.reshape(one.grid), one.image))
        )
    kind = "parts" if names_of(dictionary) else "entries"
    title = f"{name}: {counted(len(found), kind)}, each with its number of {dictionary.kind}"
    return sheet([(title, cells)], side=192, columns=9, scale=PART)
