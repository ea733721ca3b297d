"""Writes the results of consistency_evaluation.py: numbers and tables."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rats_jax.evals.consistency_evaluation import Agreements, Consistency
from rats_jax.parts.consistency import MeasuredAgreement
from rats_jax.voice import say
from rats_jax.writing import markdown_table, with_interval, write_json, write_text


def consistency_table(
    rows: Mapping[str, Agreements],
    *,
    what: str,
    ids: Mapping[str, int] | None = None,
    signed: bool = False,
) -> str:
    """A table in Markdown, in percent with intervals.

    It has columns over the pixels of parts, if those are known, and over all pixels. If there are
    classes, a column within classes is over the pixels of parts, else over all.

    what: the header of the names. ids: the number of ids of each row, for a column of these.
    signed: for differences."""
    columns = [
        (f"{name.upper()}, {over}", over, name)
        for over in Agreements._fields
        for name in ("nmi", "ari")
    ]
    first = next(iter(rows.values()))
    if first.parts is None:
        columns = columns[2:]
    over = columns[0][1]
    if not np.isnan(getattr(first, over).mean.within):
        columns.insert(1, ("NMI within classes", over, "within"))

    def cells(scores: Agreements) -> list[str]:
        measured = [(getattr(scores, over)[:3], name) for _, over, name in columns]
        ends = [[getattr(end, name) for end in of] for of, name in measured]
        return [with_interval(*of, signed=signed) for of in ends]

    counts = {row: [f"{ids[row]:,}"] if ids else [] for row in rows}
    head = [what, *(["number of ids"] if ids else []), *(title for title, *_ in columns)]
    body = [(row, *counts[row], *cells(scores)) for row, scores in rows.items()]
    return markdown_table(head, body)


def write_consistency(folder: Path, found: Consistency, *, about: Mapping) -> str:
    """Prints and returns the tables, and writes results.json and table.md."""
    table = consistency_table(found.rows, what="ids", ids=found.ids)
    if found.differences:
        table += "\n\n" + consistency_table(found.differences, what="difference", signed=True)
    say(table)
    scores, differences = (
        {row: {"parts": _plain(of.parts), "all": _plain(of.all)} for row, of in which.items()}
        for which in (found.rows, found.differences)
    )
    write_json(
        folder / "results.json",
        {
            **about,
            "images": found.images,
            "skipped": found.skipped,
            "ids": found.ids,
            "scores": scores,
            "differences": differences,
        },
    )
    write_text(folder / "table.md", table)
    return table


def _plain(measured: MeasuredAgreement | None) -> dict | None:
    """For JSON."""
    if measured is None:
        return None
    ends = {name: getattr(measured, name)._asdict() for name in ("mean", "low", "high")}
    return {**ends, "pixels": measured.pixels}
