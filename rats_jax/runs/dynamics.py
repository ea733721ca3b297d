"""How parts and registers have come along in a run, as a picture (paper, Figure 8).

Out of what stands in its workdir: metrics.jsonl, events.jsonl and config.json.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rats_jax.command_line import say
from rats_jax.runs.judged import same_measure
from rats_jax.runs.metric_names import (
    SCORES,
    called,
    is_of_evaluation,
    is_score,
    measured_on,
    told,
)

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
INK, FAINT = "#333333", "#d8d8d8"
NEW = "dynamics.new.png"
COLUMNS = 3
CELL, HEAD, FOOT = (4.2, 3.2), 0.4, 0.8  # inches: of a panel, of the title, below a panel's axes
LEGEND = 45  # letters side by side

#: Panels of figures that have no percent: metric -> label.
TITLED = {
    "distinct registers": {"registers/distinct": "in effect"},
    "registers, means": {
        "registers/similarity_within_heads": "cosine within heads",
        "registers/similarity_across_heads": "cosine across heads",
        "registers/attention_entropy": "attention entropy",
        "registers/dead": "share that is dead",
    },
    "training, nats": {"loss": "loss", "teacher_entropy": "teacher entropy", "kl": "KL"},
}


class Piece(NamedTuple):
    """What was measured alike, for other images make another curve.

    points: epochs and values. grid: what a plain grid has, dashed.
    """

    points: list[tuple[float, float]]
    grid: float | None = None


class Line(NamedTuple):
    """A metric in a panel."""

    metric: str
    label: str
    pieces: list[Piece]


class Panel(NamedTuple):
    """percent: whether figures are shares, to be shown times 100."""

    title: str
    lines: list[Line]
    percent: bool = False


class Best(NamedTuple):
    """The best checkpoint. untrained: what the untrained model has, where that is better."""

    metric: str
    step: int
    epoch: float
    value: float
    untrained: float | None = None


def redraw(workdir: Path, best: tuple[int, float] | None) -> None:
    """`draw`; what goes wrong is said, for a run is worth more than its picture."""
    try:
        draw(workdir, best)
    except Exception as error:
        (workdir / NEW).unlink(missing_ok=True)
        say(f"warning: {workdir / 'dynamics.png'} could not be drawn ({error})")


def draw(workdir: Path, best: tuple[int, float] | None = None) -> Path:
    """Writes dynamics.png, whole or not at all.

    best: step and value of the best checkpoint, as `Checkpoints.best`.
    """
    from matplotlib.figure import Figure

    config = json.loads((workdir / "config.json").read_text("utf-8"))
    rows = _lines(workdir / "metrics.jsonl")
    panels = _panels(rows, _lines(workdir / "events.jsonl"))
    star = _star(panels, best, rows, config["run"])
    height = -(-len(panels) // COLUMNS)
    size = COLUMNS * CELL[0], height * CELL[1] + HEAD
    figure = Figure(figsize=size, dpi=110)
    figure.text(0.5, 1 - HEAD / 2 / size[1], _title(workdir.resolve().name, star), ha="center")
    last = max(row["epoch"] for row in rows if "epoch" in row)
    # By hand: matplotlib's own layout takes a second.
    grid = figure.subplots(height, COLUMNS, squeeze=False)
    figure.subplots_adjust(
        left=0.5 / size[0],
        right=1 - 0.1 / size[0],
        bottom=FOOT / size[1],
        top=1 - (HEAD + 0.3) / size[1],
        wspace=0.14,
        hspace=(FOOT + 0.3) / (CELL[1] - FOOT - 0.3),
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, star, last)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    new = workdir / NEW
    figure.savefig(new)
    return new.replace(workdir / "dynamics.png")


def _lines(file: Path) -> list[dict]:
    """The objects of a JSONL file, without what a kill has cut off."""
    found = []
    for line in file.read_text("utf-8", "replace").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _panels(rows: Sequence[Mapping], events: Iterable[Mapping]) -> list[Panel]:
    there = {name for row in rows for name, value in row.items() if value is not None}
    titled = {}
    for score, title in SCORES.items():
        ks = sorted(int(name.rpartition("_")[2]) for name in there if name.startswith(f"{score}_"))
        letter = "k" if measured_on(score) == "knn" else "K"
        titled[title] = {f"{score}_{k}": f"{letter} = {k}" for k in ks}
    panels = []
    for title, names in (titled | TITLED).items():
        lines = [
            Line(metric, label, _pieces(metric, rows, events))
            for metric, label in names.items()
            if metric in there
        ]
        if lines:
            panels.append(Panel(title, lines, percent=is_score(lines[0].metric)))
    return panels


def _pieces(metric: str, rows: Sequence[Mapping], events: Iterable[Mapping]) -> list[Piece]:
    """events: of the run; each start has one that says from where, and one with what its
    evaluations measure, at the first of them."""
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
    pieces = []
    for begin, (first, end) in zip(begins or [{}], pairwise(bounds), strict=True):
        points = [
            (row["epoch"], row[metric])
            for row in rows
            if row.get(metric) is not None and first <= row["step"] < end
        ]
        pieces.append(Piece(points, begin.get("grid", {}).get(metric)))
    return [piece for piece in pieces if piece.points]


def _star(
    panels: Iterable[Panel], best: tuple[int, float] | None, rows: Sequence[Mapping], run: Mapping
) -> Best | None:
    """The best checkpoint, and the untrained model if that was better, measured alike."""
    if best is None:
        return None
    (step, value), metric = best, run["best_metric"]
    last = rows[-1]
    star = Best(metric, step, step * last["epoch"] / last["step"], value)
    lines = [line for panel in panels for line in panel.lines if line.metric == metric]
    for epoch, before in lines[0].pieces[-1].points[:1] if lines else ():
        is_better = before > value if run["best_is"] == "highest" else before < value
        if epoch == 0 and is_better:
            return star._replace(untrained=before)
    return star


def _title(name: str, best: Best | None) -> str:
    if best is None:
        return name
    metric, value = called(best.metric), told(best.metric, best.value)
    title = f"{name}: best {metric} {value} at step {best.step:,}, epoch {best.epoch:.4g}"
    if best.untrained is None:
        return title
    return f"{title} (untrained {told(best.metric, best.untrained)})"


def _draw_panel(axes, panel: Panel, best: Best | None, last: float) -> None:
    """last: the epoch at the right."""
    scale, left, right = 100 if panel.percent else 1, -0.04 * last, 1.04 * last
    for i, line in enumerate(panel.lines):
        color = COLORS[i % len(COLORS)]
        few = sum(len(piece.points) for piece in line.pieces) < 60
        look = {"linewidth": 1.6, "marker": "o" if few else "", "markersize": 3}
        begins = [left, *(piece.points[0][0] for piece in line.pieces[1:]), right]
        for j, (piece, span) in enumerate(zip(line.pieces, pairwise(begins), strict=True)):
            epochs, values = zip(*piece.points, strict=True)
            label = "" if j else line.label
            axes.plot(epochs, [scale * x for x in values], color=color, label=label, **look)
            if piece.grid is not None:
                height = [scale * piece.grid] * 2
                axes.plot(span, height, color=color, linestyle="--", linewidth=1)
        if best and line.metric == best.metric:
            at = {"marker": "*", "markersize": 13, "markeredgecolor": "white", "zorder": 5}
            axes.plot(best.epoch, scale * best.value, color=color, linestyle="", **at)
    if any(piece.grid is not None for line in panel.lines for piece in line.pieces):
        axes.plot([], [], color=INK, linestyle="--", linewidth=1, label="a plain grid")
    if best:
        axes.axvline(best.epoch, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(left, right or None)
    axes.set_title(panel.title + (", %" if panel.percent else ""), fontsize=10, loc="left")
    axes.set_xlabel("epoch", fontsize=8, loc="right", labelpad=1)
    axes.tick_params(labelsize=8)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:  # below, where no curve can be
        columns = min(LEGEND // max(map(len, labels)), 3)
        under = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.1), "ncols": columns}
        axes.legend(fontsize=7.5, frameon=False, columnspacing=1.2, **under)
