"""Writes the results of linear_evaluation.py."""

from collections.abc import Mapping
from pathlib import Path

from rats_jax.classification.accuracy import Accuracy
from rats_jax.evals.linear_evaluation import BATCH, LinearScores, Recipe
from rats_jax.voice import say
from rats_jax.writing import markdown_table, write_csv, write_json, write_text


def write_results(folder: Path, found: LinearScores, recipe: Recipe, *, about: Mapping) -> str:
    """Prints and returns the table, and writes results.json, table.md and epochs.csv. about: plain
    values that describe how the scores were computed."""
    scores: dict[str, dict] = {}
    rows: list[tuple] = []
    for name, epochs in found.epochs.items():
        for i, rate in enumerate(recipe.learning_rates):
            course = [epoch.accuracy[i] for epoch in epochs]
            best = max(range(len(course)), key=lambda e: course[e].top1)
            scores.setdefault(name, {})[str(rate)] = {
                "last": course[-1]._asdict(),
                "best": course[best]._asdict() | {"epoch": best + 1},
            }
            rows.append(
                (name, f"{rate:g}", *course[-1], f"{100 * course[best].top1:.1f} ({best + 1})")
            )
    rows.append(("majority class", "", *found.baseline, ""))
    results = {
        **about,
        **recipe._asdict(),
        "batch": BATCH,
        "images": found.images,
        "learned_from": found.learned_from,
        "skipped": found.skipped,
        "warnings": found.warnings,
        "scores": scores,
        "majority_class": found.baseline._asdict(),
    }
    columns = ("features", "learning rate", "top-1", "top-5", "best top-1 (epoch)")
    table = markdown_table(columns, rows)
    say(table)
    write_json(folder / "results.json", results)
    write_text(folder / "table.md", table)
    courses = [
        (name, rate, number, f"{loss:.6f}", *(f"{x:.6f}" for x in score))
        for name, epochs in found.epochs.items()
        for number, epoch in enumerate(epochs, 1)
        for rate, loss, score in zip(recipe.learning_rates, *epoch, strict=True)
    ]
    columns = ["features", "learning_rate", "epoch", "loss", *Accuracy._fields]
    write_csv(folder / "epochs.csv", columns, courses)
    return table
