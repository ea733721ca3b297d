"""The font of pictures, also for names, which may be in any language."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont
_ABSENT = "\uffff"  # in no font: drawn with the font's symbol for missing letters


@lru_cache
def font(size: int) -> Font:
    """DejaVu Sans, included in Matplotlib: Latin with all accents, Greek, Cyrillic, Arabic."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def drawable(text: str, font: Font) -> str:
    """The text with an escape for each letter that the font lacks and would draw as an empty box,
    such as \\u65e5."""
    absent = _drawn(font, _ABSENT)
    return "".join(
        c if c.isascii() or _drawn(font, c) != absent else c.encode("unicode_escape").decode()
        for c in text
    )


def _drawn(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
