"""Plots of a dictionary of parts: how alike its names are, and how pure its entries."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from rats_jax.parts.dictionary.saved import Dictionary

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "0.45"
_LONGEST = 28  # letters of a name, at most
_MOST_NAMES = 120  # more would be too small to read


def name_similarity(
    dictionary: Dictionary, *, centered: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of the paper's Figure 10: `(parts, cosine)`.

    Args:
      centered: subtract the mean of all entries first. Entries share a large component, without
        which names differ more.

    Returns:
      parts int [P], the part ids that name an entry, and cosine float [P, P] of the means of their
      entries. If all parts have names of several words, they are in alphabetical order, so that
      those of one super-category, their first word, are neighbours; otherwise in order of ids.
    """
    labels = dictionary.labels
    parts = np.unique(labels[labels >= 0])
    names = [dictionary.parts.get(int(part), "") for part in parts]
    if all(" " in name for name in names):
        parts = parts[sorted(range(len(parts)), key=lambda place: names[place])]
    entries = dictionary.entries.astype(np.float64)
    if centered:
        entries = entries - entries.mean(0)
    means = np.zeros((len(parts), entries.shape[1]))
    for place, part in enumerate(parts):
        means[place] = entries[labels == part].mean(0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return parts, means @ means.T


def draw_name_similarity(dictionary: Dictionary, file: Path, *, centered: bool = False) -> None:
    """Draws `name_similarity`, with lines between super-categories. Nothing is drawn if no entry
    has a name."""
    parts, cosine = name_similarity(dictionary, centered=centered)
    if not len(parts):
        return
    names = [_short(dictionary.parts.get(int(part), f"part {part}")) for part in parts]
    side = min(max(4.5, 0.17 * len(parts) + 2.5), 20)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    low = -1 if cosine.min() < 0 else 0
    picture = axes.imshow(
        cosine, cmap="RdBu_r" if low else "viridis", vmin=low, vmax=1, interpolation="nearest"
    )
    if len(parts) <= _MOST_NAMES:
        size = 9 if len(parts) <= 20 else 6
        axes.set_xticks(range(len(parts)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(parts)), names, fontsize=size)
    groups = [name.split(" ")[0] if " " in name else "" for name in names]
    for place in range(1, len(groups)):
        if groups[place] != groups[place - 1]:
            axes.axhline(place - 0.5, color="white", linewidth=1.5)
            axes.axvline(place - 0.5, color="white", linewidth=1.5)
    axes.tick_params(length=0)
    kind = "mean entries, the mean of all entries subtracted" if centered else "mean entries"
    axes.set_title(f"Cosine of {kind}", fontsize=11)
    figure.colorbar(picture, ax=axes, shrink=0.7)
    figure.savefig(file, dpi=150)


def draw_purity(
    counts: np.ndarray, purity: np.ndarray, named: np.ndarray, random: float, file: Path
) -> None:
    """Draws the purity of each entry against its use, and beside it the share of its registers that
    have its name.

    Args:
      counts: int [E], registers of each entry on the scored split.
      purity: float [E], the share of the most frequent part among an entry's votes on that split.
      named: float [E], the share of the part that the entry is named after on the training split.
      random: the share of the most frequent part among all registers, which entries that are
        assigned at random have.
      Values that are NaN are left out.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, values, colour, title in (
        (left, purity, _BLUE, "purity, by votes of the scored split"),
        (right, named, _ORANGE, "share with the name of the training split"),
    ):
        shown = (counts > 0) & np.isfinite(values)
        axes.scatter(counts[shown], values[shown], s=12, alpha=0.5, color=colour, linewidths=0)
        if shown.any():
            mean = float(np.average(values[shown], weights=counts[shown]))
            axes.axhline(mean, color=colour, label=f"mean of registers, {mean:.2f}")
        axes.axhline(random, color=_GREY, linestyle="--", label=f"most frequent part, {random:.2f}")
        axes.set(xscale="log", ylim=(-0.02, 1.02), xlabel="registers of the entry")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title(title, fontsize=11)
        axes.legend(fontsize=8, loc="upper right")
    figure.savefig(file, dpi=150)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
