"""The start of a run: its directory, its backbone, and what a resume must not change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.backbones import Backbone, open_backbone
from rats_jax.finetuning.images import check_same_classes
from rats_jax.finetuning.initial import random_backbone, starting_scales
from rats_jax.finetuning.mask2former.evaluation import Evaluation
from rats_jax.finetuning.mask2former.processes import Processes
from rats_jax.models import make_backbone
from rats_jax.models.options import options_of
from rats_jax.runs.same_data import check_data, data_facts
from rats_jax.runs.version import code_version, package_versions
from rats_jax.runs.workdir import as_json, changes, open_workdir, sign, take_part
from rats_jax.segmentation.datasets import SegmentationSource
from rats_jax.voice import say

PACKAGES = ("torch", "transformers", "accelerate")


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
    backbone = open_backbone(
        model.checkpoint, weights=model.weights or "teacher", flag="--config.model.weights"
    )
    if model.random:
        backbone = with_random_weights(backbone, model.checkpoint, config.seed)
    say(backbone.origin)
    return backbone


def with_random_weights(backbone: Backbone, checkpoint: str, seed: int) -> Backbone:
    """The same architecture with new weights, on the scale that its training started from."""
    scales = starting_scales(backbone, checkpoint)
    module = random_backbone(backbone.options, scales, rngs=nnx.Rngs(seed))
    params = nnx.to_pure_dict(nnx.split(module)[1])
    return backbone._replace(params=params, origin=f"random weights, as {backbone.origin}")


def about_run(
    config: ConfigDict,
    source: SegmentationSource,
    evaluation: Evaluation,
    backbone: Backbone,
    processes: Processes,
) -> dict:
    """The facts of the run that every checkpoint records; with the backbone, so that a resume does
    not read its weights."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "config": as_json(config),
        "code": code_version(),
        "packages": package_versions() | versions,
        "processes": processes.count,
        "data": {
            **data_facts(source, seed=config.seed),
            "seed": config.seed,
            "batch_size": config.optimizer.batch_size,
        },
        "classes": list(source.dataset.classes),
        "evaluation": evaluation.about,
        "backbone": {
            "options": backbone.options.asdict(),
            "mean": [float(x) for x in backbone.mean],
            "std": [float(x) for x in backbone.std],
            "origin": backbone.origin,
        },
    }


def without_weights(about: Mapping) -> Backbone:
    """The backbone that `about_run` recorded, with zeros as weights."""
    options = options_of(about["options"])
    module = nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0)))
    graph, like = nnx.split(module)
    params = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), nnx.to_pure_dict(like))
    return Backbone(options, graph, params, about["origin"], about["mean"], about["std"])


def compare_with(was: Mapping, now: Mapping, config: ConfigDict, folder: Path, step: int) -> None:
    """Reports what has changed since a checkpoint. was, now: as `about_run`.

    Raises:
      UserError: for another model or other images, unless `config.data.accept` accepts these.
    """
    for line in changes(ConfigDict(was["config"]), config, folder):
        say(line)
    check_same_classes(was["classes"], now["classes"])
    check_data(was["data"], now["data"], config, step=step, effect="", source="")
    if was["processes"] != now["processes"]:
        say(
            f"warning: {was['processes']} processes became {now['processes']}: other random points "
            "of the losses are drawn from here on; nothing else changes"
        )
    changed = [n for n, version in now["packages"].items() if was["packages"].get(n) != version]
    if changed:
        before, here = (
            ", ".join(f"{name} {of['packages'].get(name)}" for name in changed) for of in (was, now)
        )
        say(f"warning: the checkpoint was written by {before}; this is {here}")
    if was["evaluation"] != now["evaluation"]:
        say(
            "warning: the evaluation has changed: its scores do not compare with those from "
            "before, and the best checkpoint is one of the new ones"
        )
