"""The start of a run: its images, its directory, its backbone, and what a resume must not change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.backbones import Backbone, open_backbone
from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.processes import Processes
from rats_jax.models import make_backbone
from rats_jax.models.options import options_of
from rats_jax.runs.same_data import token
from rats_jax.runs.workdir import as_json, open_workdir, sign, take_part
from rats_jax.segmentation.datasets import SegmentationSet, open_both
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
    return open_both(
        data.train, data.test, task=config.task, classes=data.classes, void=data.void
    )


@contextmanager
def open_folder(path: str, config: ConfigDict, processes: Processes) -> Iterator[Path]:
    """The workdir, opened by the first process; others check that they have the same one."""
    if processes.is_first:
        with open_workdir(path, config) as folder:
            processes.agree({"sign": sign(folder), "config": as_json(config)})
            yield folder
    else:
        theirs = processes.agree()
        yield take_part(path, config, theirs["sign"], theirs["config"])


def first_backbone(config: ConfigDict) -> Backbone:
    """The backbone that a new run starts from: of `config.model.checkpoint`, with its weights or
    with random ones. Reports what it is. Raises UserError."""
    model = config.model
    if not model.checkpoint:
        raise UserError(
            "--checkpoint is missing: give pretrained weights (a run's workdir, a file, or demo)"
        )
    backbone = open_backbone(
        model.checkpoint, weights=model.weights or "teacher", flag="--config.model.weights"
    )
    if model.random:
        backbone = _random(backbone, config.seed)
    say(backbone.origin)
    return backbone


def _random(backbone: Backbone, seed: int) -> Backbone:
    if backbone.config is not None:
        return backbone.before_training()
    module = make_backbone(backbone.options, rngs=nnx.Rngs(seed))
    params = nnx.to_pure_dict(nnx.split(module)[1])
    return backbone._replace(params=params, origin=f"random weights, as {backbone.origin}")


def described(backbone: Backbone) -> dict:
    """What checkpoints record of a backbone, so that a resume does not read its weights."""
    return {
        "options": backbone.options.asdict(),
        "mean": [float(x) for x in backbone.mean],
        "std": [float(x) for x in backbone.std],
        "origin": backbone.origin,
    }


def without_weights(about: Mapping) -> Backbone:
    """The backbone that `described` recorded, with zeros as weights."""
    options = options_of(about["options"])
    module = nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0)))
    graph, like = nnx.split(module)
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), nnx.to_pure_dict(like))
    return Backbone(options, graph, params, about["origin"], about["mean"], about["std"])


def check_same_images(was: Mapping, now: Mapping, config: ConfigDict, *, step: int) -> None:
    """Raises UserError if the training images are not those of a checkpoint, unless
    `config.data.accept` accepts them. was, now: as `same_data.data_facts`."""
    if all(was.get(name) == value for name, value in now.items()):
        return
    change = f"there were {was['images']:,}, now there are {now['images']:,}"
    if was["images"] == now["images"]:
        change = "as many as before, but other images, another order or other classes"
    if config.data.accept != token(now):
        raise UserError(
            f"the images are not those of the checkpoint at step {step}: {change}. Put the images "
            "back, choose another --workdir for a new run, or accept the new images with "
            f"--config.data.accept={token(now)}"
        )
    say(f"warning: the images change at step {step}, as config.data.accept allows: {change}")
