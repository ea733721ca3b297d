"""Writes files of results in UTF-8, in any locale, with names that any reader can handle.

File names are bytes. If they are not UTF-8, Python's text for them cannot be written, and an error
here would lose all results.
"""

import csv
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rats_jax.files import replacing, write_whole
from rats_jax.paths import printable
from rats_jax.voice import say


def write_json(file: Path, content: Mapping) -> None:
    """content: plain values; tuples become lists."""
    write_text(file, json.dumps(_printable(content), indent=2))


def write_text(file: Path, text: str) -> None:
    """The lines of a table; a line end is added."""
    lines = "\n".join(map(printable, text.split("\n")))
    write_whole(file, lines + "\n")


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Writes the header and a line for each row."""
    with replacing(file) as new, new.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(map(_printable, rows))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table in Markdown. Float cells are fractions and are written in percent; others as text."""

    def line(cells: Iterable) -> str:
        texts = (f"{100 * x:.1f}" if isinstance(x, float) else str(x) for x in cells)
        return f"| {' | '.join(texts)} |"

    return "\n".join([line(columns), "|---" * len(columns) + "|", *map(line, rows)])


def with_interval(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """A fraction in percent with the ends of its interval; `signed` for a difference."""
    if signed:
        return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    if low < 0:
        return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * mean:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def draw_if_possible(what: str, draw: Callable[[], None]) -> None:
    """Draws a picture, after all numbers have been written; a failure is only reported."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
            draw()
    except Exception as error:  # from Matplotlib, Pillow or the disk
        reason = printable(f"{type(error).__name__}: {error}")
        say(f"warning: {what} cannot be drawn ({reason}); the numbers are complete")


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value
