"""python docs/curves.py OUT.svg LABEL=WORKDIR [LABEL=WORKDIR ...]

Curves of up to four runs, with the limits of the alarms: the figure of docs/operations.md.
"""

import json
import math
import sys
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from rats_jax.runs.guards import alarms

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by the colour-blind (Okabe, Ito)
INK, FAINT = "#333333", "#d8d8d8"
WIDTH, HEIGHT = 270, 150  # of a panel's axes, pixels
LEFT, TOP, RIGHT, BOTTOM = 44, 30, 16, 34  # around them
COLUMNS, LEGEND = 3, 30


class Panel(NamedTuple):
    """limits: those of alarms, in the panel's unit, given K."""

    title: str
    metric: str
    low: float
    high: float
    limits: tuple[float, ...] = ()
    logarithmic: bool = False

    def y(self, value: float) -> float:
        scale = math.log if self.logarithmic else float
        value = min(max(value, self.low), self.high)
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return HEIGHT * (1 - share)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            return [self.low * 4**i for i in range(20) if self.low * 4**i <= self.high]
        return [self.low + i * (self.high - self.low) / 4 for i in range(5)]


def panels(prototypes: int) -> list[Panel]:
    ln_k = math.log(prototypes)
    uniform = alarms.AT_LN_K * ln_k
    return [
        Panel("loss", "loss", 0, 8, (uniform,)),
        Panel("teacher entropy", "teacher_entropy", 0, 6, (alarms.AT_0 * ln_k, uniform)),
        Panel("KL", "kl", 0, 3, (alarms.LEAST_KL,)),
        Panel("prototypes in use", "prototypes", 1, prototypes, (alarms.LEAST_PROTOTYPES,), True),
        Panel("target information", "target_information", 0, 2, (alarms.LEAST_INFORMATION,)),
        Panel("feature std", "feature_std", 0, 1, (alarms.LEAST_FEATURE_STD,)),
    ]


def read(workdir: Path) -> tuple[int, list[dict]]:
    """K, and the reports."""
    prototypes = json.loads((workdir / "config.json").read_text())["head"]["prototypes"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    reports = [line for line in lines if "loss" in line]  # others are of evaluations alone
    for report in reports:
        report["prototypes"] = report["prototype_usage"] * prototypes
    return prototypes, reports


def draw(panel: Panel, runs: list[list[dict]]) -> list[str]:
    """A panel's elements; the origin is the upper left corner of its axes."""
    last = max(report["step"] for run in runs for report in run)
    parts = [text(0, -10, panel.title, weight="bold")]
    for tick in panel.ticks():
        y = panel.y(tick)
        parts.append(line(0, y, WIDTH, y, FAINT))
        parts.append(text(-6, y + 4, f"{tick:g}", anchor="end"))
    for step in range(0, last + 1, 100):
        parts.append(text(WIDTH * step / last, HEIGHT + 16, str(step), anchor="middle"))
    for limit in panel.limits:
        parts.append(line(0, panel.y(limit), WIDTH, panel.y(limit), INK, dashes="3 3"))
    for run, color in zip(runs, COLORS, strict=False):
        points = [(WIDTH * r["step"] / last, panel.y(r[panel.metric])) for r in run]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" '
            'stroke-linejoin="round"/>'
        )
    return parts


def line(x1: float, y1: float, x2: float, y2: float, color: str, *, dashes: str = "none") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-dasharray="{dashes}"/>'
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def main(out: str, *named: str) -> None:
    labels, workdirs = zip(*(each.split("=", 1) for each in named), strict=True)
    prototypes, runs = zip(*(read(Path(workdir)) for workdir in workdirs), strict=True)
    drawn = panels(prototypes[0])
    cell = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    size = COLUMNS * cell[0], LEGEND + math.ceil(len(drawn) / COLUMNS) * cell[1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>',
    ]
    entries = [*zip(labels, COLORS, ("none",) * 4, strict=False), ("limit of an alarm", INK, "3 3")]
    for i, (label, color, dashes) in enumerate(entries):
        x = LEFT + i * (size[0] - LEFT) / len(entries)
        parts += [line(x, 16, x + 20, 16, color, dashes=dashes), text(x + 26, 20, label)]
    for i, panel in enumerate(drawn):
        x, y = LEFT + i % COLUMNS * cell[0], LEGEND + TOP + i // COLUMNS * cell[1]
        parts += [f'<g transform="translate({x} {y})">', *draw(panel, list(runs)), "</g>"]
    Path(out).write_text("\n".join([*parts, "</svg>"]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
