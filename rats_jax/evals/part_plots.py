"""Plots of part discovery: scores against K, and against the resolution of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from rats_jax.evals.part_scores import Result
from rats_jax.parts.region_metrics import measured_headers

# Okabe and Ito's colours, which colour-blind readers can distinguish: one for each model
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_NULL_COLOUR = "0.45"
_LONGEST = 40  # letters of a name in the legend, at most
_APART = 1.04  # factor between points side by side
_WIDE = 1.5  # factor of space on either side of points that are close together
_STYLES = {
    "registers": ("-", "o"),
    "centered registers": ("-.", "v"),
    "[CLS] attention": ("-", "D"),
    "register attention": ("-", "^"),
    "k-means": ("--", "s"),
    "grid": ("--", "x"),
    "SLIC": (":", "+"),
}


class _Line(NamedTuple):
    """One method. at: the values of x at which it was measured. results: one for each of these."""

    way: str
    at: Sequence[float]
    results: Sequence[Result]

    def values(self, part: str, score: str) -> np.ndarray:
        return np.array([100 * getattr(getattr(r.scores, part), score) for r in self.results])

    def is_own(self) -> bool:
        """Whether these are saved regions, which have a fixed number of regions."""
        return any(r.row.k == "own" for r in self.results) and not _is_null(self.way)


def draw(results: Sequence[Result], folder: Path) -> None:
    """Draws scores.png: each score against K, with a row of plots for each resolution. If there are
    several resolutions, also draws resolution.png: each score against these, with a row for each K.

    Saved regions and their baselines are plotted at the mean number of saved regions, which the
    legend shows.
    """
    resolutions = sorted({result.row.resolution for result in results} - {None})
    rows = [
        (f", {side} pixels" if side else "", [_of(way, results, side) for way in _ways(results)])
        for side in resolutions or [None]
    ]
    ks = sorted({result.row.k for result in results if result.row.k != "own"})
    ticks = ks or sorted({line.at[0] for line in rows[0][1]})
    _figure(rows, xlabel="K", ticks=ticks).savefig(folder / "scores.png", dpi=150)
    if len(resolutions) > 1:
        rows = []
        for k in ks:
            of_k = [result for result in results if result.row.k == k]
            rows.append((f", K = {k}", [_over(way, of_k, resolutions) for way in _ways(of_k)]))
        figure = _figure(rows, xlabel="resolution, pixels", ticks=resolutions)
        figure.savefig(folder / "resolution.png", dpi=150)


def _ways(results: Sequence[Result]) -> list[str]:
    """The methods: models and saved regions first, then null baselines."""
    return sorted(dict.fromkeys(result.row.way for result in results), key=_is_null)


def _of(way: str, results: Sequence[Result], resolution: int | None) -> _Line:
    """One method against K, at one resolution."""
    chosen = [r for r in results if r.row.way == way and r.row.resolution in (resolution, None)]
    _, _, name = way.rpartition(" like ")
    own = {r.row.way: r.regions for r in results if r.row.k == "own"}
    return _Line(way, [own[name] if r.row.k == "own" else r.row.k for r in chosen], chosen)


def _over(way: str, results: Sequence[Result], resolutions: Sequence[int]) -> _Line:
    """One method against the resolution; a level line if it has no resolution."""
    chosen = [result for result in results if result.row.way == way]
    if chosen[0].row.resolution is None:
        return _Line(way, [resolutions[0], resolutions[-1]], chosen * 2)
    return _Line(way, [result.row.resolution for result in chosen], chosen)


def _figure(rows: Sequence[tuple[str, Sequence[_Line]]], *, xlabel: str, ticks: Sequence) -> Figure:
    lines = {line.way: None for _, of_row in rows for line in of_row}
    places = [place for _, of_row in rows for line in of_row for place in line.at]
    owners = dict.fromkeys(way.partition(": ")[0] for way in lines if not _is_null(way))
    colours = {owner: _COLOURS[i % len(_COLOURS)] for i, owner in enumerate(owners)}
    headers = measured_headers(
        result.scores.mean for _, of_row in rows for line in of_row for result in line.results
    )
    size = 2 + 3 * len(headers), 0.9 + 2.8 * len(rows)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(rows), len(headers), squeeze=False, sharex=True, sharey="col")
    drawn: dict[str, Artist] = {}
    for (title, of_row), axes in zip(rows, panels, strict=True):
        for (score, name), panel in zip(headers.items(), axes, strict=True):
            for line in _side_by_side([line for line in of_row if line.results]):
                drawn[line.way] = _draw_line(panel, line, score, colours)
            panel.set_title(f"{name}{title}", fontsize=10)
            _tidy(panel, ticks)
            if max(places) < _WIDE * min(places):  # Matplotlib's own range would be too narrow
                panel.set_xlim(min(places) / _WIDE, max(places) * _WIDE)
        axes[0].set_ylabel("percent")
    for panel in panels[-1]:
        panel.set_xlabel(xlabel)
    own = {line.way: line.at[0] for _, of_row in rows for line in of_row if line.is_own()}
    shown = [way for way in lines if way in drawn]
    legend = figure.legend(
        [drawn[way] for way in shown],
        [_cut(way) + (f" (K = {own[way]:.1f})" if way in own else "") for way in shown],
        loc="outside right upper",
        frameon=False,
        fontsize=9,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with $ is no formula
    return figure


def _cut(name: str) -> str:
    """The name, cut so that the legend leaves space for the panels."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _side_by_side(lines: Sequence[_Line]) -> list[_Line]:
    """The lines; several single points at the same x are moved apart a little."""
    moved = []
    for line in lines:
        alike = [other.way for other in lines if len(line.at) == 1 and other.at == line.at]
        step = alike.index(line.way) - (len(alike) - 1) / 2 if alike else 0
        moved.append(line._replace(at=[_APART**step * at for at in line.at]))
    return moved


def _draw_line(panel: Axes, line: _Line, score: str, colours: dict[str, str]) -> Artist:
    """Draws a line; returns what the legend shows for it."""
    owner, _, kind = line.way.partition(": ")
    style, marker = _STYLES.get(kind or owner.partition(" like ")[0], ("-", "*"))
    colour = _NULL_COLOUR if _is_null(line.way) else colours[owner]
    mean, low, high = (line.values(part, score) for part in ("mean", "low", "high"))
    options = {"color": colour, "linestyle": style, "marker": marker, "markersize": 5}
    if len(line.at) == 1:  # a band would have no width
        options["linestyle"] = "none"
        return panel.errorbar(line.at, mean, (mean - low, high - mean), **options)
    panel.fill_between(line.at, low, high, color=colour, alpha=0.12, linewidth=0)
    return panel.plot(line.at, mean, linewidth=1.5, **options)[0]


def _is_null(way: str) -> bool:
    """Whether the method uses no model: a grid, or SLIC."""
    return way.partition(" like ")[0] in ("grid", "SLIC")


def _tidy(panel: Axes, ticks: Sequence) -> None:
    panel.set_xscale("log")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(ticks, [f"{tick:.1f}".removesuffix(".0") for tick in ticks])
    panel.grid(color="0.92")
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
