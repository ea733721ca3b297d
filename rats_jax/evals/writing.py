"""Files of results: UTF-8 whatever the locale, and names as one line that any reader takes.

Names of files are bytes. What Python makes of bytes that are not UTF-8 cannot be written, and an
error here would lose all that was computed.
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
    """A line for each row."""
    with replacing(file) as new, new.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(map(_printable, rows))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Cells that are floats are fractions, written in percent; of others their text."""

    def line(cells: Iterable) -> str:
        texts = (f"{100 * x:.1f}" if isinstance(x, float) else str(x) for x in cells)
        return f"| {' | '.join(texts)} |"

    return "\n".join([line(columns), "|---" * len(columns) + "|", *map(line, rows)])


def with_interval(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """A share in percent with the ends of its interval; signed for a difference."""
    if signed:
        return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * mean:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def draw_if_possible(what: str, draw: Callable[[], None]) -> None:
    """Draws, after all numbers have been written; a failure is said, and loses nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # drawn as a box
            draw()
    except Exception as error:  # of Matplotlib, Pillow or the disk
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
