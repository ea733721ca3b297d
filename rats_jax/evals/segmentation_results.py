"""Writes the results of segmentation_evaluation.py: numbers and tables."""

import math
from collections.abc import Mapping
from pathlib import Path

from rats_jax.evals.segmentation_evaluation import Segmentation
from rats_jax.parts.probes.pixel_scores import HEADERS, MeasuredPixels, OfClass
from rats_jax.voice import say
from rats_jax.writing import markdown_table, with_interval, write_csv, write_json, write_text


def segmentation_table(
    rows: Mapping[str, MeasuredPixels], *, what: str, signed: bool = False
) -> str:
    """A table in Markdown, in percent with intervals. what: the header of the names. signed: for
    differences."""
    cells = [
        (row, *(with_interval(*ends, signed=signed) for ends in zip(*of, strict=True)))
        for row, of in rows.items()
    ]
    return markdown_table([what, *HEADERS.values()], cells)


def write_segmentation(folder: Path, found: Segmentation, *, about: Mapping) -> str:
    """Prints and returns the tables, and writes results.json, table.md and classes.csv."""
    scores = {row: of.scores() for row, of in found.rows.items()}
    table = segmentation_table(scores, what="probe")
    table += "\n\n" + segmentation_table(found.differences, what="difference", signed=True)
    say(table)
    classes = {row: of.classes() for row, of in found.rows.items()}
    results = {
        **about,
        "images": found.images,
        "learned_from": found.learned_from,
        "classes": found.classes,
        "patches_in_memory": found.remembered,
        "learning_rates_held_out": {
            row: {f"{rate:g}": _number(miou) for rate, miou in rates.items()}
            for row, rates in found.rates.items()
        },
        "names": {str(id_): found.names[id_] for id_ in sorted(found.names)},
        "skipped": found.skipped,
        "warnings": found.warnings,
        "scores": {
            row: _plain(of)
            | {"classes": {str(id_): _plain_class(c) for id_, c in classes[row].items()}}
            for row, of in scores.items()
        },
        "differences": {row: _plain(of) for row, of in found.differences.items()},
    }
    write_json(folder / "results.json", results)
    write_text(folder / "table.md", table)
    lines = [
        (row, id_, found.names.get(id_, ""), *("" if x is None else x for x in values.values()))
        for row, of in classes.items()
        for id_, values in ((id_, _plain_class(c)) for id_, c in of.items())
    ]
    write_csv(folder / "classes.csv", ["probe", "id", "name", *OfClass._fields], lines)
    return table


def _plain(of: MeasuredPixels) -> dict:
    return {end: scores._asdict() for end, scores in of._asdict().items()}


def _plain_class(of: OfClass) -> dict:
    return {name: _number(value) for name, value in of._asdict().items()}


def _number(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return None if math.isnan(value) else value
