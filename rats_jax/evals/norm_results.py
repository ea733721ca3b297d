"""Writes the results on token norms: numbers, a table and two pictures."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from rats_jax.evals.token_norms import PERCENT, ModelNorms, Outlier, TokenNorms
from rats_jax.pictures.overlays import save_png
from rats_jax.pictures.sheets import Cell, Scale, heat, over, sheet
from rats_jax.voice import say
from rats_jax.writing import draw_if_possible, markdown_table, write_json, write_text

Rows = list[dict]  # one for each layer


def write_norms(folder: Path, found: TokenNorms, *, limit: Outlier, about: Mapping) -> str:
    """Prints and returns the table, and writes results.json, table.md, norms.png and maps.png."""
    layers = {name: _by_layer(model, limit) for name, model in found.models.items()}
    results = {**about, "images": found.images, "outlier": str(limit), "layers": layers}
    table = norms_table(layers, limit)
    say(table)
    write_json(folder / "results.json", results)
    write_text(folder / "table.md", table)
    draw_if_possible("norms.png", lambda: _plot(folder / "norms.png", layers, limit))
    cuts = {name: rows[-1]["above"] for name, rows in layers.items()}
    draw_if_possible("maps.png", lambda: save_png(_maps(found, cuts), folder / "maps.png"))
    return table


def _by_layer(model: ModelNorms, limit: Outlier) -> list[dict]:
    patches = model.of["patches"]
    rows = []
    for i in range(patches.layers):
        median = patches.percentile(i, 50)
        cut = limit.value * median if limit.relative else limit.value
        rows.append(
            {
                "percentiles": {str(p): patches.percentile(i, p) for p in PERCENT},
                "largest": patches.largest(i),
                "above": cut,
                "share_above": patches.share_above(i, cut),
                "median of others": {
                    name: norms.percentile(i, 50)
                    for name, norms in model.of.items()
                    if name != "patches"
                },
            }
        )
    return rows


def norms_table(layers: Mapping[str, Rows], limit: Outlier) -> str:
    """A table in Markdown: the norms of patches for each model and layer, counted from 1."""
    columns = ["model", "layer", "median", "99 %", "largest", "largest / median", f"above {limit}"]
    cells = []
    for name, rows in layers.items():
        for i, row in enumerate(rows, 1):
            median, high = (row["percentiles"][p] for p in ("50", "99"))
            norms = [f"{x:.3g}" for x in (median, high, row["largest"])]
            ratio, share = f"{row['largest'] / median:.2f}", f"{100 * row['share_above']:.2f} %"
            cells.append((name, i, *norms, ratio, share))
    return markdown_table(columns, cells)


def _plot(file: Path, layers: Mapping[str, Rows], limit: Outlier) -> None:
    """For each model, plots percentiles over layers, and below them the share of outliers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 4.5 * len(layers), 5.5), layout="constrained")
    axes = figure.subplots(2, len(layers), sharey="row", squeeze=False, height_ratios=(3, 1))
    for (fan, share), (name, rows) in zip(axes.T, layers.items(), strict=True):
        x = range(1, len(rows) + 1)
        at = {p: [row["percentiles"][str(p)] for row in rows] for p in PERCENT}
        for low, high, depth in ((1, 99, 0.2), (5, 95, 0.35), (25, 75, 0.5)):
            label = f"{low} to {high} % of patches"
            fan.fill_between(x, at[low], at[high], color="#0072b2", alpha=depth, lw=0, label=label)
        fan.plot(x, at[50], color="#00344f", label="median patch")
        fan.plot(x, [row["largest"] for row in rows], ".", color="#00344f", label="largest patch")
        for others, colour in (("registers", "#d55e00"), ("[CLS]", "#009e73")):
            if others in rows[0]["median of others"]:
                medians = [row["median of others"][others] for row in rows]
                fan.plot(x, medians, color=colour, label=f"median of {others}")
        fan.plot(x, [row["above"] for row in rows], "k--", lw=1, label=f"outliers: above {limit}")
        fan.set(title=name, yscale="log")
        shares = [100 * row["share_above"] for row in rows]
        share.plot(x, shares, ".-", color="#00344f", clip_on=False)
        share.set(xlabel="layer", ylim=(0, max(1, *shares)))
        for axis in (fan, share):
            axis.set_xticks(x)
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("norm before the final LayerNorm")
    axes[1, 0].set_ylabel("outliers, %")
    labelled = [handle for axis in axes[0] for handle in axis.get_legend_handles_labels()[0]]
    once = {handle.get_label(): handle for handle in labelled}
    figure.legend(handles=once.values(), fontsize=8, loc="outside right upper")
    figure.savefig(file, dpi=130)


def _maps(found: TokenNorms, cuts: Mapping[str, float]) -> Image.Image:
    """The first images, and where the norms of the last layer are high. Only outliers, above the
    model's threshold, are brightest: a scale from the lowest to the highest norm would seem to show
    outliers in any model."""
    rows: list[tuple[str, list[Cell]]] = [("images", [("", image) for image in found.pictures])]
    for name, model in found.models.items():
        patches = model.shown
        side = round(patches.shape[1] ** 0.5)
        scale = Scale(0, cuts[name])
        cells = [
            (
                f"{one.min():.3g} to {one.max():.3g}",
                over(heat(one.reshape(side, side), scale), image),
            )
            for one, image in zip(patches, found.pictures, strict=True)
        ]
        title = (
            f"{name}: norms of the last layer's patches, dark 0, bright {scale.high:.3g} or more"
        )
        rows.append((title, cells))
    return sheet(rows, side=192)
