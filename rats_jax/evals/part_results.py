"""Writes the results of part_evaluation.py: numbers, tables and plots."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rats_jax.evals.differences import (
    difference,
    difference_table,
    from_untrained,
    plain_difference,
    score_cells,
)
from rats_jax.evals.part_scores import (
    Measured,
    PartScores,
    Result,
    Row,
    Scored,
    mean_of,
    summarised,
)
from rats_jax.parts.region_metrics import RegionScores, measured_headers
from rats_jax.parts.truth import report
from rats_jax.voice import say
from rats_jax.writing import (
    draw_if_possible,
    markdown_table,
    write_csv,
    write_json,
    write_text,
)


def write_results(
    folder: Path,
    found: PartScores,
    *,
    about: Mapping,
    against: Sequence[tuple[Row, Row]] = (),
) -> str:
    """Prints and returns the table, and writes results.json, table.md, images.csv, plots and, if
    images have classes, classes.csv.

    about: plain values that describe how the scores were computed. against: pairs of rows to
    compare, in addition to those of a model with its untrained twin.

    In results.json scores are nested by resolution ("any" for methods without a model), K and
    method; `differences` is a list. Scores that cannot be measured are left out.
    """
    results = summarised(found.images)
    scores: dict = {}
    for row, of_row, regions in results:
        of_resolution = scores.setdefault(str(row.resolution or "any"), {})
        parts = {part: getattr(of_row, part).measured() for part in ("mean", "low", "high")}
        of_resolution.setdefault(str(row.k), {})[row.way] = {
            "regions": regions,
            **parts,
            "images": of_row.images,
        }
    masks = found.truth._asdict() | {"report": report(found.truth)}
    record = {**about, "images": len(found.images), "skipped": found.skipped, "masks": masks}
    rows = [image.rows for image in found.images]
    differences = from_untrained(rows) + [difference(rows, *pair) for pair in against]
    record["differences"] = [plain_difference(one) for one in differences]
    table = result_table(results)
    if differences:
        table += f"\n\n{difference_table(differences)}"
    say(table)
    write_json(folder / "results.json", record | {"scores": scores})
    write_text(folder / "table.md", table)
    _write_means(folder / "images.csv", "name", [(image.name, image) for image in found.images])
    if any(image.group for image in found.images):
        of_class = sorted(found.images, key=lambda image: image.group or "")
        _write_means(folder / "classes.csv", "class", [(i.group or "", i) for i in of_class])
    draw_if_possible("scores.png", lambda: _draw(results, folder))
    return table


def _draw(results: Sequence[Result], folder: Path) -> None:
    from rats_jax.evals.part_plots import draw  # imports Matplotlib

    draw(results, folder)


def result_table(results: Sequence[Result]) -> str:
    """A table in Markdown, scores in percent with intervals. It has a column of resolutions if
    there are several."""
    sweep = len({result.row.resolution for result in results} - {None}) > 1
    headers = measured_headers(result.scores.mean for result in results)
    head = ["K", *(["resolution"] if sweep else []), "label maps", "regions", *headers.values()]
    rows = []
    for row, scores, regions in results:
        resolution = [str(row.resolution or "any")] if sweep else []
        figures = score_cells(scores, headers)
        rows.append((row.k, *resolution, row.way, f"{regions:.1f}", *figures))
    return markdown_table(head, rows)


def _write_means(file: Path, first: str, images: Sequence[tuple[str, Scored]]) -> None:
    """Writes a line for each name and row, with the means over the images of that name. The column
    `parts` is the mean number of regions in their masks."""
    measured: dict[tuple, list[tuple[Measured, int]]] = defaultdict(list)
    for name, image in images:
        for row, of_row in image.rows.items():
            measured[name, row].append((of_row, image.truth.regions))
    scores = [*RegionScores._fields, "regions"]
    columns = ["resolution", "k", "label_maps", "images", *scores, "parts"]
    rows = []
    for (name, row), of_name in measured.items():
        of_row, parts = zip(*of_name, strict=True)
        count = sum(bool(one.scores.measured()) for one in of_row)
        means = mean_of(of_row) if count else [np.nan] * len(scores)
        mean = ["" if np.isnan(x) else f"{x:.6f}" for x in means]
        parts = f"{np.mean(parts):g}"
        rows.append((name, row.resolution or "any", row.k, row.way, count, *mean, parts))
    write_csv(file, [first, *columns], rows)
