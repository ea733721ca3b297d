"""How parts and registers have come along in a run, as a picture (paper, Figure 8).

Out of what stands in its workdir: metrics.jsonl, events.jsonl and config.json.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rats_jax.command_line import say

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
INK, FAINT = "#333333", "#d8d8d8"
NEW = "dynamics.new.png"
COLUMNS = 3
CELL, HEAD = (4.2, 2.9), 0.4  # inches: of a panel, of the title
SCORES = {"parts/m2o": "M2O", "parts/o2o": "O2O", "parts/ari": "ARI"}

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


class Line(NamedTuple):
    """A metric in a panel. grid: what a plain grid has, dashed."""

    metric: str
    label: str
    grid: float | None = None


class Panel(NamedTuple):
    """percent: whether figures are shares, to be shown times 100."""

    title: str
    lines: list[Line]
    percent: bool = False


class Best(NamedTuple):
    metric: str
    step: int
    epoch: float
    value: float


def redraw(workdir: Path) -> None:
    """`draw`; what goes wrong is said, for a run is worth more than its picture."""
    try:
        draw(workdir)
    except Exception as error:
        (workdir / NEW).unlink(missing_ok=True)
        say(f"warning: {workdir / 'dynamics.png'} could not be drawn ({error})")


def draw(workdir: Path) -> Path:
    """Writes dynamics.png, whole or not at all."""
    from matplotlib.figure import Figure

    config = json.loads((workdir / "config.json").read_text())
    rows = _lines(workdir / "metrics.jsonl")
    told = [e for e in _lines(workdir / "events.jsonl") if e.get("event") == "evaluation"]
    panels = _panels(rows, told[-1].get("grid", {}) if told else {})
    best = _best(rows, config["run"])
    height = -(-len(panels) // COLUMNS)
    size = COLUMNS * CELL[0], height * CELL[1] + HEAD
    figure = Figure(figsize=size, dpi=110)
    figure.text(0.5, 1 - HEAD / 2 / size[1], _title(workdir.resolve().name, best), ha="center")
    # By hand: matplotlib's own layout takes a second.
    grid = figure.subplots(height, COLUMNS, squeeze=False)
    figure.subplots_adjust(
        left=0.5 / size[0],
        right=1 - 0.1 / size[0],
        bottom=0.5 / size[1],
        top=1 - (HEAD + 0.3) / size[1],
        wspace=0.14,
        hspace=0.38,
    )
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, rows, best)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    new = workdir / NEW
    figure.savefig(new)
    return new.replace(workdir / "dynamics.png")


def _lines(file: Path) -> list[dict]:
    """The objects of a JSONL file, without what a kill has cut off."""
    found = []
    for line in file.read_text(errors="replace").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _panels(rows: Iterable[Mapping], grid: Mapping[str, float]) -> list[Panel]:
    there = {name for row in rows for name, value in row.items() if value is not None}
    panels = []
    for of, title in SCORES.items():
        ks = sorted(int(name.rpartition("_")[2]) for name in there if name.startswith(f"{of}_"))
        names = {k: f"{of}_{k}" for k in ks}
        lines = [Line(name, f"K = {k}", grid.get(name)) for k, name in names.items()]
        panels.append(Panel(title, lines, percent=True))
    knn = sorted(name for name in there if name.startswith("knn/"))
    lines = [Line(name, f"k = {name.rpartition('_')[2]}") for name in knn]
    panels.append(Panel("k-NN top-1", lines, percent=True))
    for title, names in TITLED.items():
        panels.append(Panel(title, [Line(name, label) for name, label in names.items()]))
    panels = [
        panel._replace(lines=[line for line in panel.lines if line.metric in there])
        for panel in panels
    ]
    return [panel for panel in panels if panel.lines]


def _best(rows: Iterable[Mapping], run: Mapping) -> Best | None:
    """Of the steps that may have a checkpoint; of equal ones the later."""
    metric, sign = run["best_metric"], 1 if run["best_is"] == "highest" else -1
    judged = [row for row in rows if row.get(metric) is not None and row["step"]]
    if not run["keep_best"] or not judged:
        return None
    best = max(judged, key=lambda row: (sign * row[metric], row["step"]))
    return Best(metric, best["step"], best["epoch"], best[metric])


def _title(name: str, best: Best | None) -> str:
    if best is None:
        return name
    of_scores = best.metric.startswith(("parts/", "knn/"))
    value = f"{100 * best.value:.1f} %" if of_scores else f"{best.value:.4g}"
    return f"{name}: best {best.metric} {value} at step {best.step:,}, epoch {best.epoch:.4g}"


def _draw_panel(axes, panel: Panel, rows: Iterable[Mapping], best: Best | None) -> None:
    scale = 100 if panel.percent else 1
    for i, line in enumerate(panel.lines):
        points = [(r["epoch"], r[line.metric]) for r in rows if r.get(line.metric) is not None]
        color = COLORS[i % len(COLORS)]
        epochs, values = zip(*points, strict=True)
        few = len(points) < 60
        axes.plot(
            epochs,
            [scale * value for value in values],
            color=color,
            label=line.label,
            linewidth=1.6,
            marker="o" if few else "",
            markersize=3,
        )
        if line.grid is not None:
            axes.axhline(scale * line.grid, color=color, linestyle="--", linewidth=1)
        if best and line.metric == best.metric:
            at = {"marker": "*", "markersize": 13, "markeredgecolor": "white", "zorder": 5}
            axes.plot(best.epoch, scale * best.value, color=color, linestyle="", **at)
    if any(line.grid is not None for line in panel.lines):
        axes.plot([], [], color=INK, linestyle="--", linewidth=1, label="a plain grid")
    if best:
        axes.axvline(best.epoch, color=INK, linewidth=0.8, linestyle=":")
    last = max(row["epoch"] for row in rows if "epoch" in row)
    axes.set_xlim(-0.04 * last, 1.04 * last or None)
    axes.set_title(panel.title + (", %" if panel.percent else ""), fontsize=10, loc="left")
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(fontsize=7, framealpha=0.8, edgecolor="none")
