"""python docs/name_tables.py: writes the tables of docs/weights.md from rats_jax/weights."""

import re
from collections.abc import Iterator
from pathlib import Path

from rats_jax.weights import layout_tables, names

PAGE = Path(__file__).parent / "weights.md"
BETWEEN = re.compile(r"(<!-- (?P<table>\w+): by name_tables.py -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with its tables as the code has them now."""
    return BETWEEN.sub(lambda at: at[1] + "\n".join(TABLES[at["table"]]()) + "\n" + at[3], page)


def ours() -> Iterator[str]:
    yield "| in JAX (a layer's part) | shape | in PyTorch | there |"
    yield "|---|---|---|---|"
    for row in names.BACKBONE:
        yield f"| `{row.path}` | `{row.shape}` | `{row.name}` | {row.form.says} |"
    for row in names.HEAD:
        yield f"| head: `{row.path}` | `{row.shape}` | `head.{row.name}` | {row.form.says} |"


def others() -> Iterator[str]:
    for layout in layout_tables.LAYOUTS:
        yield f"**{layout.title}**\n"
        differing = [(name, *theirs) for name, theirs in layout.names.items() if theirs != (name,)]
        rows = dict.fromkeys(_both(row, differing) for row in differing)
        yield "| ours | there |\n|---|---|" if rows else "As ours."
        for name, *theirs in rows:
            yield f"| `{name}` | {', '.join(f'`{part}`' for part in theirs)} |"
        yield ""


def _both(row: tuple[str, ...], rows: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The row of a weight and of its bias, as one."""
    stems = tuple(name.removesuffix(".weight").removesuffix(".bias") for name in row)
    ways = [tuple(stem + end for stem in stems) for end in (".weight", ".bias")]
    both = all(way in rows for way in ways)
    return tuple(stem + ".{weight,bias}" for stem in stems) if both else row


TABLES = {"ours": ours, "others": others}

if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
