"""The images of a run of fine-tuning, from its config, for both frameworks."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from rats_jax.data.counted import counted
from rats_jax.data.samples import Samples
from rats_jax.errors import UserError
from rats_jax.parts.datasets import DRAWN
from rats_jax.paths import local_path, printable
from rats_jax.segmentation.datasets import SegmentationSet, open_both, open_segmentation
from rats_jax.segmentation.samples import InstanceSamples, SemanticSamples
from rats_jax.segmentation.segmentation_set import SegmentationSource
from rats_jax.voice import say

MOST_LISTED = 4  # classes in a message


class Data(NamedTuple):
    """source: the training images. test: those that are scored."""

    source: SegmentationSource
    test: SegmentationSet

    @property
    def classes(self) -> tuple[str, ...]:
        return self.test.classes


def with_absolute_paths(config: ConfigDict) -> None:
    """Makes `data.train` and `data.test` absolute, in place, so that the run finds its images from
    any folder later."""
    for field in ("train", "test"):
        kind, colon, place = config.data[field].partition(":")
        if place and kind not in DRAWN:
            config.data[field] = f"{kind}{colon}{os.path.abspath(local_path(place))}"


def open_test(config: ConfigDict) -> SegmentationSet:
    """The images to score, with the classes that `config.data.classes` lists. config: of a run."""
    data = config.data
    test = open_segmentation(
        data.test, task=config.task, classes=tuple(data.classes), void=data.void
    )
    for note in test.notes:
        say(note)
    say(f"{len(test.classes)} classes; {len(test):,} images to score ({test.name})")
    return test


def open_data(config: ConfigDict) -> Data:
    """The images that `config.data` names. Reports what was found and what was left out."""
    data = config.data
    for field in ("train", "test"):
        if not data[field]:
            raise UserError(
                f"config.data.{field} is empty: give images with their masks, KIND:PATH, or "
                "drawings, such as procedural_parts:300"
            )
    train, test = open_both(
        data.train, data.test, task=config.task, classes=tuple(data.classes), void=data.void
    )
    source = SegmentationSource(train)
    for note in dict.fromkeys((*source.notes, *test.notes)):
        say(note)
    say(
        f"{counted(len(test.classes), 'class')}; {counted(len(source), 'image')} to train on "
        f"({train.name}), {len(test):,} to score ({test.name})"
    )
    return Data(source, test)


def check_same_classes(was: Sequence[str], now: Sequence[str]) -> None:
    """Raises UserError if a run is resumed with other classes than it was started with."""
    if list(was) == list(now):
        return
    lines = [
        f"{where} {', '.join(names[:MOST_LISTED])}{', ...' if len(names) > MOST_LISTED else ''}"
        for where, names in (
            ("the run alone has", [name for name in was if name not in now]),
            ("the data alone have", [name for name in now if name not in was]),
        )
        if names
    ]
    differing = printable("; ".join(lines) or "their order differs")
    raise UserError(
        "the classes of the data are not those that the run was started with: "
        f"{differing}: give its data, or choose another --workdir"
    )


def make_samples(config: ConfigDict) -> Samples:
    """What the host makes of an image and its truth."""
    data = config.data
    options = {name: data[name] for name in ("crop", "resize", "flip", "color")}
    options["scale"] = tuple(data.scale)
    if config.task == "instance":
        return InstanceSamples(**options, most_instances=data.most_instances)
    return SemanticSamples(**options, one_class=data.one_class)
