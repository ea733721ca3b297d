"""The metrics of a run as its files record them, split where the measure changed."""

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
    """Points on the same measure: an evaluation on other images starts a new curve.

    grid: the score of a plain grid on this measure, if there is one.
    """

    points: list[Point]
    grid: float | None = None


def read_lines(file: Path) -> list[dict]:
    """The objects of a JSONL file, without truncated lines; an empty list if there is no file."""
    found = []
    for line in file.read_text("utf-8", "replace").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def pieces(metric: str, rows: Sequence[Mapping], events: Iterable[Mapping]) -> list[Piece]:
    """The curve of a metric, with one piece for each measure.

    rows: the lines of metrics.jsonl. events: the lines of events.jsonl. Each start adds an event
    with its first step, and at its first evaluation an event with what the evaluations measure.
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
