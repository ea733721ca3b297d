"""The table of all rows, the differences to the null rows, and results.json."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rats_jax.dictionaries.rows import LEARNED, Row, null_rows
from rats_jax.parts.dictionary.assignments import SCORED, Assignments
from rats_jax.parts.dictionary.naming import NONE
from rats_jax.parts.dictionary.scores import HEADERS, MeasuredScores, Scores
from rats_jax.writing import markdown_table, with_interval

COLUMNS = {
    "purity": "valPw: the mean share of the most frequent part of an entry, by the scored split's "
    "own labels, weighted; higher with more entries and with fewer detectors for each",
    "named": "named: the share of labels that are the name which the training split gave the entry",
    "util": "util: the share of entries with three detectors or more",
    "map": "mAP: mean average precision of finding images of the same class",
    "first": "R@1: how often the first image found has the same class",
}


def differences_of(rows: Mapping[str, Row]) -> dict[str, MeasuredScores]:
    """ "ROW - NULL ROW" -> paired differences, of the model's entries and of learned ones."""
    first = next(iter(rows))  # that of the model's entries, if they could be made
    own = [first, LEARNED] if LEARNED in rows and first != LEARNED else [first]
    pairs = [(name, null) for name in own for null in null_rows(rows)]
    if len(own) == 2:
        pairs.insert(0, (LEARNED, first))
    return {f"{name} - {null}": rows[name].scores.minus(rows[null].scores) for name, null in pairs}


def table_of(rows: Mapping[str, Row]) -> str:
    """Markdown, in percent with 95 % intervals."""
    scores = {name: row.scores.measured() for name, row in rows.items()}
    known, labelled = _known(scores.values()), _labelled(rows)
    body = []
    for name, row in rows.items():
        counts = ["-", "-"]
        if row.assignments is not None:
            counts = [f"{row.assignments.entries:,}", f"{_labels(row.assignments):,}"]
        body.append((name, *counts[: 1 + labelled], *_cells(scores[name], known)))
    counted = ["entries", "labels"][: 1 + labelled]
    head = ["row", *counted, *(HEADERS[column] for column in known)]
    return markdown_table(head, body)


def difference_table(differences: Mapping[str, MeasuredScores]) -> str:
    """Markdown, in percentage points with paired 95 % intervals."""
    known = _known(differences.values())
    rows = [(name, *_cells(of, known, signed=True)) for name, of in differences.items()]
    return markdown_table(["difference", *(HEADERS[column] for column in known)], rows)


def columns_in_words(rows: Mapping[str, Row]) -> str:
    """A line for each column."""
    known = _known([row.scores.measured() for row in rows.values()])
    return "\n".join(
        [
            *(["labels: detectors of the scored split that have a part"] * _labelled(rows)),
            *(COLUMNS[column] for column in known),
            "(percent, with 95 % intervals over images)",
        ]
    )


def plain_rows(rows: Mapping[str, Row]) -> dict:
    """For JSON."""
    return {
        name: {
            "entries": None if row.assignments is None else row.assignments.entries,
            "fit": dict(row.facts),
            "scores": plain(row.scores.measured()),
        }
        for name, row in rows.items()
    }


def plain(measured: MeasuredScores) -> dict:
    """For JSON, which has no NaN."""
    return {
        end: {name: None if math.isnan(x) else x for name, x in scores._asdict().items()}
        for end, scores in measured._asdict().items()
    }


def _labels(assignments: Assignments) -> int:
    """How many detectors of the scored split have a part."""
    return int(np.count_nonzero(assignments.of(SCORED).label != NONE))


def _labelled(rows: Mapping[str, Row]) -> bool:
    return any(row.assignments is not None and _labels(row.assignments) for row in rows.values())


def _known(all_scores) -> list[str]:
    """The scores that some row has."""
    means = [measured.mean for measured in all_scores]
    return [c for c in Scores._fields if not all(math.isnan(getattr(x, c)) for x in means)]


def _cells(measured: MeasuredScores, columns: Sequence[str], *, signed: bool = False) -> list[str]:
    ends = [[getattr(end, column) for end in measured] for column in columns]
    return ["-" if math.isnan(of[0]) else with_interval(*of, signed=signed) for of in ends]
