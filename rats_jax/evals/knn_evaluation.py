"""k-NN classification of a data set, computed for python -m rats_jax.evaluate --task=knn."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.classification.accuracy import (
    Accuracy,
    accuracy,
    check_classes,
    label_warnings,
    majority,
)
from rats_jax.classification.knn import TEMPERATURE, USUAL_K, knn_predictions
from rats_jax.classification.labelled import (
    LabelledImages,
    check_apart,
    check_class_names,
    held_out,
    labels_as,
    relabelled,
)
from rats_jax.data.reading import LeftOut
from rats_jax.errors import UserError
from rats_jax.evals.vectors import Vectors, extract
from rats_jax.voice import say
from rats_jax.writing import markdown_table, write_csv, write_json, write_text


class KnnScores(NamedTuple):
    """The result for the N images that were scored.

    names: of the images. labels: int64 [N], numbered as in `classes`. predictions: model -> k ->
    int64 [N, 5], see `knn_predictions`. baseline: the accuracy of always predicting the most
    frequent classes. learned_from: the number of images learned from. skipped: a line for each
    image left out, with the reason. warnings: about the labels."""

    names: list[str]
    labels: np.ndarray
    classes: LabelledImages
    predictions: dict[str, dict[int, np.ndarray]]
    baseline: Accuracy
    learned_from: int
    skipped: list[str]
    warnings: list[str]

    @property
    def images(self) -> int:
        """How many were scored."""
        return len(self.labels)

    def rows(self) -> Iterator[tuple[str, int, Accuracy]]:
        """(model, k, accuracy)."""
        for name, of_model in self.predictions.items():
            for k, ranked in of_model.items():
                yield name, k, accuracy(ranked, self.labels)


def numbers_of_neighbours(given: Sequence[str] | None, most: int) -> tuple[int, ...]:
    """The values of k in ascending order: those given, or the default ones up to `most`, the number
    of images to learn from. Raises UserError."""
    if given is None:
        return tuple(k for k in USUAL_K if k <= most) or (most,)
    if not given or not all(k.strip().isdecimal() and 1 <= int(k) <= most for k in given):
        raise UserError(
            f"--knn_k={','.join(given)}: there are at most {most} training images; choose numbers "
            f"from 1 to {most}"
        )
    return tuple(sorted({int(k) for k in given}))


def evaluate_knn(
    models: Mapping[str, Backbone],
    dataset: LabelledImages,
    train: LabelledImages | None,
    *,
    knn_k: Sequence[str] | None,
    resolution: int,
    skip_broken: bool,
) -> KnnScores:
    """Classifies the images of `dataset` by those of `train`. Without `train`, classifies a fifth
    of each class of `dataset` by the rest.

    models: by their names in the results. For each model, images are compared by its global vector:
    [CLS] or the mean of the registers. Images are prepared as in eval_knn.py, see `central_crop`.

    Raises:
      UserError: the first image that is broken, unless these are skipped; classes or numbers of
        neighbours that are not possible.
    """
    left_out = LeftOut(skip_broken=skip_broken)
    learned = train or dataset
    check_class_names(learned)
    if train:
        check_apart(train, dataset)
    as_learned = labels_as(train, dataset) if train else None
    numbers_of_neighbours(knn_k, len(learned.source))  # reports an error before the work
    vectors = {
        name: model.taking(lambda features: features.global_vector)
        for name, model in models.items()
    }

    def found(images: LabelledImages) -> Vectors:
        everything = range(len(images.source))
        return extract(vectors, models, images, everything, resolution, left_out)

    test = found(dataset)
    if train:
        bank = found(train)
        test = test._replace(labels=relabelled(test.labels, as_learned, of=dataset.name))
    else:
        scored = held_out(test.labels)
        test, bank = test.where(scored), test.where(~scored)
    check_classes(bank.labels, len(test.labels), of=learned.name)
    warnings = label_warnings(bank.labels, test.labels, of=learned.name)
    for line in warnings:
        say(line)
    ks = numbers_of_neighbours(knn_k, len(bank.labels))
    predictions = {
        name: knn_predictions(bank.of[name], bank.labels, test.of[name], ks) for name in models
    }
    return KnnScores(
        [dataset.file(i) for i in test.indices],
        test.labels,
        learned,
        predictions,
        majority(bank.labels, test.labels),
        len(bank.labels),
        left_out.lines,
        warnings,
    )


def write_results(folder: Path, found: KnnScores, *, about: Mapping) -> str:
    """Prints and returns the table, and writes results.json, table.md and predictions.csv.
    about: plain values that describe how the scores were computed."""
    scores: dict[str, dict] = {}
    for name, k, score in found.rows():
        scores.setdefault(name, {})[str(k)] = score._asdict()
    results = {
        **about,
        "temperature": TEMPERATURE,
        "images": found.images,
        "learned_from": found.learned_from,
        "skipped": found.skipped,
        "warnings": found.warnings,
        "scores": scores,
        "majority_class": found.baseline._asdict(),
    }
    rows = [(name, k, *score) for name, k, score in found.rows()]
    rows.append(("majority class", "", *found.baseline))
    table = markdown_table(("features", "k", "top-1", "top-5"), rows)
    say(table)
    write_json(folder / "results.json", results)
    write_text(folder / "table.md", table)
    columns = ["name", "class", "features", "k", "prediction", "rank"]
    write_csv(folder / "predictions.csv", columns, _predictions(found))
    return table


def _predictions(found: KnnScores) -> Iterator[tuple]:
    """A line for each image, model and k. rank: of the right class, 1 to 5; empty if below 5th."""
    for i, (name, label) in enumerate(zip(found.names, found.labels, strict=True)):
        for model, predictions in found.predictions.items():
            for k, ranked in predictions.items():
                rank = np.flatnonzero(ranked[i] == label) + 1
                right, predicted = map(found.classes.class_name, (label, ranked[i, 0]))
                yield name, right, model, k, predicted, *(rank if rank.size else [""])
