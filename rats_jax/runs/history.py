"""What a run's files tell of its past: its metrics, split where another measure began."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rats_jax.runs.checkpoints.best_metric import same_measure
from rats_jax.runs.metric_names import is_of_evaluation, measured_on


class Point(NamedTuple):
    step: int
    epoch: float
    value: float


class Piece(NamedTuple):
    """What was measured alike, for other images make another curve.

    grid: what a plain grid has there, if that was scored.
    """

    points: list[Point]
    grid: float | None = None


def read_lines(file: Path) -> list[dict]:
    """The objects of a JSONL file, without what a kill has cut off; none where there is no file."""
    found = []
    for line in file.read_text("utf-8", "replace").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def pieces(metric: str, rows: Sequence[Mapping], events: Iterable[Mapping]) -> list[Piece]:
    """The curve of a metric, in as many pieces as it was measured in ways.

    rows: of metrics.jsonl. events: of events.jsonl; each start has one that says from where, and
    one with what its evaluations measure, at the first of them.
    """
    begins: list[Mapping] = []
    on = measured_on(metric)
    for event in events if is_of_evaluation(metric) else ():
        if event["event"] == "started":
            begins = []
        elif event["event"] == "continued":
            begins = [before for before in begins if before["step"] <= event["step"]]
        elif event["event"] == "evaluation" and not (
            begins and same_measure(begins[-1].get(on), event.get(on))
        ):
            begins.append(event)
    bounds = [0, *(begin["step"] for begin in begins[1:]), math.inf]
    found = []
    for begin, (first, end) in zip(begins or [{}], pairwise(bounds), strict=True):
        points = [
            Point(row["step"], row["epoch"], row[metric])
            for row in rows
            if row.get(metric) is not None and first <= row["step"] < end
        ]
        found.append(Piece(points, begin.get("grid", {}).get(metric)))
    return [piece for piece in found if piece.points]
