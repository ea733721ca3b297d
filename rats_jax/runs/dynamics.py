"""Draws how parts and registers develop during a run (paper, Figure 8).

Reads metrics.jsonl, events.jsonl and config.json in the run's workdir.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rats_jax.files import replacing
from rats_jax.paths import printable
from rats_jax.runs.history import Piece, pieces, read_lines
from rats_jax.runs.metric_names import (
    PLAIN,
    SCORES,
    display_name,
    formatted,
    is_score,
    numbered,
)
from rats_jax.voice import say

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
INK, FAINT = "#333333", "#d8d8d8"
COLUMNS = 3
CELL, HEAD, FOOT = (4.2, 3.2), 0.4, 0.8  # inches: panel, title, space below a panel's axes
LEGEND = 45  # characters in a line
LEAST = 5.0  # percent: the smallest span of an axis of scores, so that noise does not look large

DISTINCT = "distinct registers"
#: Panels of metrics with a title of their own: title -> {metric: label}.
TITLED = {
    "semantic segmentation": {n: title for n, title in PLAIN.items() if n.startswith("semantic/")},
    "instances, masks": {n: title for n, title in PLAIN.items() if n.endswith("_mask")},
    "instances, boxes": {n: title for n, title in PLAIN.items() if n.endswith("_box")},
    DISTINCT: {"registers/distinct": "effective number"},
    "registers, means": {
        "registers/similarity_within_heads": "cosine within heads",
        "registers/similarity_across_heads": "cosine across heads",
        "registers/attention_entropy": "attention entropy",
        "registers/dead": "fraction that is dead",
        "patches/shared": "similarity of patches",
    },
    "training, nats": {"loss": "loss", "teacher_entropy": "teacher entropy", "kl": "KL"},
}


class Line(NamedTuple):
    """A metric in a panel."""

    metric: str
    label: str
    pieces: list[Piece]


class Panel(NamedTuple):
    """percent: whether the values are fractions, to be shown times 100."""

    title: str
    lines: list[Line]
    percent: bool = False


class Best(NamedTuple):
    """The best checkpoint. untrained: the value of the untrained model, if that is better."""

    metric: str
    step: int
    epoch: float
    value: float
    untrained: float | None = None


def redraw(workdir: Path, best: tuple[int, float] | None) -> None:
    """Calls `draw` and reports any error instead of raising it: a picture must not end the run."""
    try:
        draw(workdir, best)
    except Exception as error:
        say(f"warning: {workdir / 'dynamics.png'} could not be drawn ({error})")


def draw(workdir: Path, best: tuple[int, float] | None = None) -> Path:
    """Writes dynamics.png atomically.

    best: step and value of the best checkpoint, as `Checkpoints.best` returns them.
    """
    from matplotlib.figure import Figure

    config = json.loads((workdir / "config.json").read_text("utf-8"))
    rows = read_lines(workdir / "metrics.jsonl")
    panels = _panels(rows, read_lines(workdir / "events.jsonl"))
    star = _star(panels, best, rows, config["run"])
    height = -(-len(panels) // COLUMNS)
    size = COLUMNS * CELL[0], height * CELL[1] + HEAD
    figure = Figure(figsize=size, dpi=110)
    title = _title(printable(workdir.resolve().name), star)
    figure.text(0.5, 1 - HEAD / 2 / size[1], title, ha="center", parse_math=False)
    last = max(row["epoch"] for row in rows if "epoch" in row)
    # Laid out by hand, since matplotlib's layout engine takes a second.
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
    file = workdir / "dynamics.png"
    with replacing(file, new=workdir / "dynamics.new.png") as new:  # the suffix sets the format
        figure.savefig(new)
    return file


def _panels(rows: Sequence[Mapping], events: Iterable[Mapping]) -> list[Panel]:
    there = {name for row in rows for name, value in row.items() if value is not None}
    titled = {}
    for score, title in SCORES.items():
        ks = sorted(int(name.rpartition("_")[2]) for name in there if name.startswith(f"{score}_"))
        titled[title] = {f"{score}_{k}": numbered(score, str(k)) for k in ks}
    panels = []
    for title, names in (titled | TITLED).items():
        lines = [
            Line(metric, label, pieces(metric, rows, events))
            for metric, label in names.items()
            if metric in there
        ]
        if lines:
            panels.append(Panel(title, lines, percent=is_score(lines[0].metric)))
    return panels


def _star(
    panels: Iterable[Panel], best: tuple[int, float] | None, rows: Sequence[Mapping], run: Mapping
) -> Best | None:
    """The best checkpoint, and the untrained model if that was better on the same measure."""
    if best is None:
        return None
    (step, value), metric = best, run["best_metric"]
    last = rows[-1]
    star = Best(metric, step, step * last["epoch"] / last["step"], value)
    lines = [line for panel in panels for line in panel.lines if line.metric == metric]
    for first in lines[0].pieces[-1].points[:1] if lines else ():
        before = first.value
        is_better = before > value if run["best_is"] == "highest" else before < value
        if first.step == 0 and is_better:
            return star._replace(untrained=before)
    return star


def _title(name: str, best: Best | None) -> str:
    if best is None:
        return name
    metric, value = display_name(best.metric), formatted(best.metric, best.value)
    title = f"{name}: best {metric} {value} at step {best.step:,}, epoch {best.epoch:.4g}"
    if best.untrained is None:
        return title
    return f"{title} (untrained {formatted(best.metric, best.untrained)})"


def _draw_panel(axes, panel: Panel, best: Best | None, last: float) -> None:
    """last: the last epoch, at the right end of the axis."""
    scale, left, right = 100 if panel.percent else 1, -0.04 * last, 1.04 * last
    for i, line in enumerate(panel.lines):
        color = COLORS[i % len(COLORS)]
        few = sum(len(piece.points) for piece in line.pieces) < 60
        look = {"linewidth": 1.6, "marker": "o" if few else "", "markersize": 3}
        begins = [left, *(piece.points[0].epoch for piece in line.pieces[1:]), right]
        for j, (piece, span) in enumerate(zip(line.pieces, pairwise(begins), strict=True)):
            _, epochs, values = zip(*piece.points, strict=True)
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
    if panel.percent:
        low, high = axes.get_ylim()
        missing = max(LEAST - (high - low), 0) / 2
        axes.set_ylim(low - missing, high + missing)
    elif panel.title == DISTINCT:
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_title(panel.title + (", %" if panel.percent else ""), fontsize=10, loc="left")
    axes.set_xlabel("epoch", fontsize=8, loc="right", labelpad=1)
    axes.tick_params(labelsize=8)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:  # below the axes, where there are no curves
        columns = min(LEGEND // max(map(len, labels)), 3)
        under = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.1), "ncols": columns}
        axes.legend(fontsize=7.5, frameon=False, columnspacing=1.2, **under)
