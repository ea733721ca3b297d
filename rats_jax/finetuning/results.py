"""The results of a model that was fine-tuned: scores, tables and pictures, in a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.files import replacing
from rats_jax.paths import printable
from rats_jax.results_folder import new_folder
from rats_jax.segmentation.datasets import SegmentationSet
from rats_jax.segmentation.evaluation import Evaluated
from rats_jax.segmentation.pictures import prediction_sheet
from rats_jax.segmentation.scoring import ClassScores, Estimate, Scorer, open_scorer
from rats_jax.voice import say
from rats_jax.writing import (
    draw_if_possible,
    markdown_table,
    with_interval,
    write_json,
    write_text,
)

COUNTS = "counts.npz"  # what each image contributes to the scores


def write_results(
    target: Path,
    dataset: SegmentationSet,
    scorer: Scorer,
    found: Evaluated,
    *,
    about: Mapping,
) -> str:
    """Prints and returns the table of scores, and makes the folder `target`, whole or not at all,
    instead of an earlier one: results.json, table.md, counts.npz and, if there are examples,
    predictions.png.

    Args:
      dataset, scorer, found: what was scored.
      about: plain values for results.json, such as the config, the checkpoint and the step.
    """
    scores, classes = scorer.measured(), scorer.classes()
    table = _table(scorer, scores, images=len(scorer))
    say(table)
    results = {
        **about,
        "dataset": dataset.about,
        "fingerprint": dataset.fingerprint(),
        "images": len(scorer),
        "left_out": found.left_out,
        "scores": {name: estimate._asdict() for name, estimate in scores.items()},
        "classes": [of._asdict() for of in classes],
    }
    with _replaced(target) as folder:
        write_json(folder / "results.json", results)
        write_text(folder / "table.md", f"{table}\n\n{_class_table(classes)}")
        with replacing(folder / COUNTS) as new, new.open("wb") as file:
            np.savez_compressed(file, **scorer.state())
        if found.examples:
            draw_if_possible("predictions.png", lambda: _draw(folder, dataset, found))
    return table


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """As `new_folder`, also if `target` exists: it is removed if the block succeeds."""
    old = target.with_name(f".{target.name[:40]}.old")
    try:
        with new_folder(target, flag="the folder of results") as folder:
            yield folder
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
    finally:
        if old.exists() and not target.exists():  # the new one could not be put in its place
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)


class _Saved(NamedTuple):
    """Results that were written: what they were measured on, and the scores."""

    fingerprint: str
    scorer: Scorer


def difference(folder: Path, other: Path) -> dict[str, Estimate]:
    """The scores of the results in a folder minus those in another, with intervals paired by image.

    Raises:
      UserError: a folder has no such results; or they are of other images or classes.
    """
    one, two = _read(folder), _read(other)
    if one.fingerprint != two.fingerprint:
        raise UserError(
            f"{printable(str(folder))} and {printable(str(other))} are results of different images "
            "or classes: score both models on the same data set"
        )
    return one.scorer.difference(two.scorer)


def _read(folder: Path) -> _Saved:
    try:
        results = json.loads((folder / "results.json").read_text("utf-8"))
        dataset = results["dataset"]
        scorer = open_scorer(
            SimpleNamespace(
                name=dataset["name"],
                task=dataset["task"],
                classes=tuple(dataset["classes"].values()),
            )
        )
        with np.load(folder / COUNTS, allow_pickle=False) as counts:
            scorer.merge([dict(counts)])
        return _Saved(results["fingerprint"], scorer)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise UserError(
            f"{printable(str(folder))} is not a folder of results of rats finetune "
            f"({type(error).__name__}: {printable(str(error))}): give the folder with results.json"
        ) from error


def _table(scorer: Scorer, scores: Mapping[str, Estimate], *, images: int) -> str:
    names = [name for name in scorer.headers if name in scores]
    values = [with_interval(*scores[name]) for name in names]
    return markdown_table(
        ["scored", *(scorer.headers[name] for name in names)],
        [(counted(images, "image"), *values)],
    )


def _class_table(classes: Sequence[ClassScores]) -> str:
    """The most frequent class first."""
    names = list(dict.fromkeys(name for of in classes for name in of.scores))
    rows = [
        (
            of.name.replace("|", "\\|"),
            *(of.scores.get(n, "") for n in names),
            of.truth,
            of.predicted,
        )
        for of in sorted(classes, key=lambda of: -of.truth)
    ]
    return markdown_table(["class", *names, "truth", "predicted"], rows)


def _draw(folder: Path, dataset: SegmentationSet, found: Evaluated) -> None:
    prediction_sheet(found.examples, dataset.classes).save(folder / "predictions.png")
