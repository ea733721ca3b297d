"""Linear classification of a data set, computed for python -m rats_jax.evaluate --task=linear."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.classification.accuracy import (
    Accuracy,
    accuracy,
    check_classes,
    label_warnings,
    majority,
    places_of,
)
from rats_jax.classification.labelled import (
    LabelledImages,
    check_apart,
    check_class_names,
    held_out,
    labels_as,
    relabelled,
)
from rats_jax.classification.linear import learn, ranked, rates_at, start
from rats_jax.classification.views import random_crop
from rats_jax.data.reading import LeftOut
from rats_jax.errors import UserError
from rats_jax.evals.request import positive_rates
from rats_jax.evals.vectors import Batch, batches, extract, read_labels
from rats_jax.models import Features, Options
from rats_jax.progress import Progress, time_left
from rats_jax.voice import say

BATCH = 256
SEED = 0
SMALL = 384  # the width up to which the official advice calls a model small
SCORED = 1024  # images at once


class Recipe(NamedTuple):
    """last_blocks: the number of last blocks whose global vectors, after the final norm, are
    concatenated. average_patches: whether the mean of the last block's patches is appended.
    learning_rates: for batches of 256; each trains a separate classifier."""

    last_blocks: int
    average_patches: bool
    learning_rates: tuple[float, ...]
    epochs: int


class Epoch(NamedTuple):
    """losses: mean training loss in the epoch for each learning rate, [R]. accuracy: after the
    epoch, for each learning rate."""

    losses: np.ndarray
    accuracy: list[Accuracy]


class LinearScores(NamedTuple):
    """epochs: model -> its epochs in order. baseline: the accuracy of always predicting the most
    frequent classes. images: the number scored. learned_from: the number learned from. skipped: a
    line for each image left out, with the reason. warnings: about the labels."""

    epochs: dict[str, list[Epoch]]
    baseline: Accuracy
    images: int
    learned_from: int
    skipped: list[str]
    warnings: list[str]


def choose_recipe(
    options: Options,
    *,
    last_blocks: int | None,
    average_patches: bool | None,
    learning_rates: Sequence[str],
    epochs: int,
) -> Recipe:
    """The recipe. Options that are None follow the official advice: small models use the last four
    blocks, larger ones the last block and its patches. Raises UserError.

    options: of the backbone. learning_rates: as text.
    """
    depth, small = options.depth, options.width <= SMALL
    if last_blocks is None:
        last_blocks = min(4, depth) if small else 1
    if last_blocks > depth:
        raise UserError(
            f"--last_blocks={last_blocks}: the model has {depth} blocks; choose 1 to {depth}"
        )
    return Recipe(
        last_blocks,
        not small if average_patches is None else average_patches,
        positive_rates(learning_rates),
        epochs,
    )


def classified_vector(features: Features, *, average_patches: bool) -> jax.Array:
    """The vectors to classify, float32 [B, blocks * D]: the global vectors of the layers in
    `features`, first to last. With `average_patches` they have D more values."""
    blocks = [features.layers[i].normed for i in sorted(features.layers)]
    parts = [block.global_vector for block in blocks]
    if average_patches:
        parts.append(blocks[-1].patches.mean(1))
    return jnp.concatenate(parts, axis=-1).astype(jnp.float32)


def evaluate_linear(
    models: Mapping[str, Backbone],
    dataset: LabelledImages,
    train: LabelledImages | None,
    *,
    recipe: Recipe,
    resolution: int,
    skip_broken: bool,
) -> LinearScores:
    """Trains classifiers on `train` and scores them on `dataset` after every epoch. Without
    `train`, scores a fifth of each class of `dataset` and trains on the rest.

    models: of one shape, by their names in the results. Each epoch uses a new random crop of each
    image, so its vectors are recomputed; those of the images scored are computed once.

    Raises:
      UserError: the first image that is broken, unless these are skipped; classes that are not
        possible.
    """
    left_out = LeftOut(skip_broken=skip_broken)
    learned = train or dataset
    check_class_names(learned)
    if train:
        check_apart(train, dataset)
    as_learned = labels_as(train, dataset) if train else None
    indices, labels = read_labels(learned, left_out)
    scored = np.arange(len(dataset.source))
    if not train:
        chosen = held_out(labels)
        scored, indices, labels = indices[chosen], indices[~chosen], labels[~chosen]
    check_classes(labels, len(scored), of=learned.name)
    vectors = {name: _vectors(model, recipe) for name, model in models.items()}
    test = extract(vectors, models, dataset, scored, resolution, left_out)
    test = test._replace(labels=relabelled(test.labels, as_learned, of=dataset.name))
    warnings = label_warnings(labels, test.labels, of=learned.name)
    for line in warnings:
        say(line)
    classes = np.unique(labels)  # labels may be any numbers; classifiers use places in this array
    expected = places_of(test.labels, classes)
    learners = {
        name: _Learner(
            model, vectors[name], recipe, width=test.of[name].shape[1], classes=len(classes)
        )
        for name, model in models.items()
    }
    epochs: dict[str, list[Epoch]] = {name: [] for name in models}
    began = time.monotonic()
    for epoch in range(recipe.epochs):
        seen = 0
        for batch, rates in _epoch(learned, indices, recipe, epoch, resolution, left_out):
            seen += len(batch.labels)
            batch = batch._replace(labels=places_of(batch.labels, classes))
            for learner in learners.values():
                learner.learn_from(batch, rates)
        if not seen:
            raise UserError(f"no image of {learned.name} can be decoded: give other images")
        left = time_left(began, (epoch + 1) / recipe.epochs)
        for name, learner in learners.items():
            found = learner.end_epoch(test.of[name], expected)
            epochs[name].append(found)
            top1 = ", ".join(f"{100 * score.top1:.1f}" for score in found.accuracy)
            say(f"epoch {epoch + 1} of {recipe.epochs}, {name}: top-1 {top1} %, {left}")
    baseline = majority(labels, test.labels)
    return LinearScores(epochs, baseline, len(test.labels), seen, left_out.lines, warnings)


def _vectors(model: Backbone, recipe: Recipe) -> Callable[[dict, jax.Array], jax.Array]:
    depth = model.options.depth
    pick = partial(classified_vector, average_patches=recipe.average_patches)
    return model.taking(pick, layers_of=range(depth - recipe.last_blocks, depth))


def _epoch(
    images: LabelledImages,
    indices: np.ndarray,
    recipe: Recipe,
    epoch: int,
    resolution: int,
    left_out: LeftOut,
) -> Iterator[tuple[Batch, np.ndarray]]:
    """The batches of an epoch, and the learning rates."""

    def view(pixels: np.ndarray, index: int) -> np.ndarray:
        return random_crop(pixels, resolution, np.random.default_rng((SEED, epoch, index)))

    order = np.random.default_rng((SEED, epoch)).permutation(indices)
    size = min(BATCH, len(order))
    rates = rates_at(epoch, epochs=recipe.epochs, rates=recipe.learning_rates, batch=size)
    progress = Progress(f"epoch {epoch + 1} of {recipe.epochs}", len(order))
    for batch in batches(images, order, view, left_out, progress, batch=size):
        yield batch, rates


class _Learner:
    """The classifiers of one model."""

    def __init__(
        self, model: Backbone, vectors: Callable, recipe: Recipe, *, width: int, classes: int
    ):
        self._params = model.params
        self._state = start(
            classifiers=len(recipe.learning_rates), width=width, classes=classes, seed=SEED
        )
        self._losses: list[np.ndarray | jax.Array] = []
        self._counts: list[int] = []
        self._ranked = jax.jit(ranked)

        @partial(jax.jit, donate_argnums=1)
        def step(params, state, pixels, labels, count, rates):
            return learn(state, vectors(params, pixels), labels, count, rates)

        self._step = step

    def learn_from(self, batch: Batch, rates: np.ndarray) -> None:
        count = len(batch.labels)
        labels = np.pad(batch.labels, (0, len(batch.pixels) - count))
        self._state, losses = self._step(
            self._params, self._state, batch.pixels, labels, count, rates
        )
        if self._losses:  # keeps the host at most one step ahead of the device
            self._losses[-1] = np.asarray(self._losses[-1])
        self._losses.append(losses)
        self._counts.append(count)

    def end_epoch(self, vectors: np.ndarray, labels: np.ndarray) -> Epoch:
        """vectors [N, D] and labels [N] of the images scored."""
        first = np.concatenate(
            [
                self._ranked(self._state.classifiers, vectors[i : i + SCORED])
                for i in range(0, len(vectors), SCORED)
            ],
            axis=1,
        )
        losses = np.average(self._losses, axis=0, weights=self._counts)
        self._losses, self._counts = [], []
        return Epoch(losses, [accuracy(of_classifier, labels) for of_classifier in first])
