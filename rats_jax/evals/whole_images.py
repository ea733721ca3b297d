"""The first steps of the tasks on whole images: k-NN, linear and norms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from rats_jax.evals.request import WHOLE_PIXELS, Request, images_used
from rats_jax.voice import say

if TYPE_CHECKING:
    from rats_jax.backbones import Backbone
    from rats_jax.classification.labelled import LabelledImages

TRAIN = flags.DEFINE_string(
    "train", "", "KIND:PATH of the training images; by default four fifths of --dataset."
)


class Opened(NamedTuple):
    """target: the folder to make. about: for results.json, describes how the figures were computed.
    train: the images to learn from; None if they are part of `dataset`."""

    target: Path
    dataset: LabelledImages
    models: dict[str, Backbone]
    resolution: int
    about: dict
    train: LabelledImages | None = None


def open_images(request: Request) -> Opened:
    """Opens what --dataset and --checkpoint name. Raises UserError."""
    from rats_jax.classification.labelled import open_labelled
    from rats_jax.paths import local_path
    from rats_jax.results_folder import check_outside, free_folder

    request.require("the images")
    target = free_folder(local_path(request.output))
    dataset = open_labelled(request.dataset)
    check_outside(target, dataset.folders)
    whole, dataset = len(dataset.source), dataset.limited(request.limit)
    models = request.models()
    options = models["model"].options
    resolution = request.one_resolution(options, usual=WHOLE_PIXELS)
    say(f"{dataset.name}: {images_used(len(dataset.source), whole)}")
    about = {
        "task": request.task,
        "model": models["model"].origin,
        "options": options.asdict(),
        "dataset": dataset.name,
        "limit": request.limit,
        "resolution": resolution,
    }
    return Opened(target, dataset, models, resolution, about)


def open_classified(request: Request) -> Opened:
    """As `open_images`, and opens the images of --train to learn from. Raises UserError."""
    from rats_jax.classification.labelled import open_labelled

    train = open_labelled(TRAIN.value) if TRAIN.value else None
    opened = open_images(request)
    if train is None:
        say("without --train, a fifth of each class, chosen at random with a fixed seed, is scored")
    else:
        whole, train = len(train.source), train.limited(request.limit)
        say(f"{train.name}: {images_used(len(train.source), whole)} for training")
        if not (train.classes and opened.dataset.classes):
            say("classes are matched by their numbers, since not both sets have class names")
    learned = train.name if train else f"four fifths of {opened.dataset.name}"
    return opened._replace(about=opened.about | {"train": learned}, train=train)
