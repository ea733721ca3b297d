"""The images of a fine-tuning run, from its config."""

from ml_collections import ConfigDict

from rats_jax.data.samples import Samples
from rats_jax.errors import UserError
from rats_jax.segmentation.datasets import SegmentationSet, open_both
from rats_jax.segmentation.samples import InstanceSamples, SemanticSamples
from rats_jax.voice import say


def open_images(config: ConfigDict) -> tuple[SegmentationSet, SegmentationSet]:
    """The training and the test images; reports what was left out. Raises UserError."""
    data = config.data
    for name in ("train", "test"):
        if not data[name]:
            raise UserError(
                f"config.data.{name} is empty: give images with masks, such as "
                f"--config.data.{name}=folder:PATH"
            )
    both = open_both(data.train, data.test, task=config.task, classes=data.classes, void=data.void)
    for line in dict.fromkeys(line for each in both for line in each.notes):
        say(line)
    return both


def make_samples(config: ConfigDict) -> Samples:
    """What the host makes of a training image."""
    data = config.data
    same = {name: data[name] for name in ("crop", "resize", "flip", "color")}
    same["scale"] = tuple(data.scale)
    if config.task == "semantic":
        return SemanticSamples(**same, one_class=data.one_class)
    return InstanceSamples(**same, most_instances=data.most_instances)
