"""Decides whether a start is the first of its run, and what it takes from given weights then."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from rats_jax.data.sources import Source
from rats_jax.parallel.distributed import agree
from rats_jax.paths import local_path, printable
from rats_jax.runs.initial.arrays import given_arrays
from rats_jax.runs.initial.initial import Initial, initial_parts, with_imported
from rats_jax.runs.initial.reading import read_given
from rats_jax.runs.workdir import earlier_config, folder_of
from rats_jax.voice import say


def first_start(
    config: ConfigDict, workdir: str, source: Source, weights: Mapping | None
) -> tuple[ConfigDict, Initial | None]:
    """The config of the run, and what a first start takes from weights; None if it takes nothing
    or the run has a checkpoint.

    A first start sets `model.imported` and `init.taken`; a resume has them from config.json, and
    never reads the weights. source: the training images. weights: arrays, instead of
    `config.init.checkpoint`; see `runs.loop.train`.

    Raises UserError for weights that cannot be read or do not fit.
    """
    config = _with_absolute_path(config)
    kept = agree(_kept(folder_of(workdir)) if jax.process_index() == 0 else None)
    if kept is not None:
        checkpoint = config.init.checkpoint
        if checkpoint and _absolute(checkpoint) != _absolute(kept["checkpoint"]):
            say(
                f"config.init.checkpoint {printable(checkpoint)} is not read: the run resumes from "
                "its own checkpoint"
            )
        config.model.imported = config.model.imported or kept["imported"]
        config.init.checkpoint, config.init.taken = kept["checkpoint"], kept["taken"]
        return config, None
    config.init.taken = ""
    if weights is None and not config.init.checkpoint:
        return config, None
    if weights is None:
        given = read_given(config)
    else:
        given = given_arrays(weights, config)
        config.init.checkpoint = ""  # it is not read
    config = with_imported(config, given)
    initial = initial_parts(config, given, source)
    config.init.taken = " ".join(initial.taken)
    return config, initial


def _kept(workdir: Path) -> dict | None:
    """What config.json says of the first start, if the run has a checkpoint."""
    if (config := earlier_config(workdir)) is None:
        return None
    return {
        "checkpoint": config.init.checkpoint,
        "taken": config.init.taken,
        "imported": config.model.imported,
    }


def _with_absolute_path(config: ConfigDict) -> ConfigDict:
    """A copy of the config, with an absolute `init.checkpoint` if it is a path that exists."""
    config, checkpoint = config.copy_and_resolve_references(), config.init.checkpoint
    if checkpoint and local_path(checkpoint).exists():
        config.init.checkpoint = _absolute(checkpoint)
    return config


def _absolute(checkpoint: str) -> str:
    return os.path.abspath(local_path(checkpoint)) if checkpoint else ""
