"""The backbone in a run of `rats finetune --decoder=mask2former`, without PyTorch.

The run's checkpoints are those of `rats_jax.finetuning.mask2former.checkpoints`, which takes the
names of files and the comparison of checkpoints from here.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load_file

from rats_jax.errors import UserError
from rats_jax.models.options import Options, RATSOptions, options_of
from rats_jax.paths import printable
from rats_jax.runs.checkpoints.retention import rank
from rats_jax.runs.checkpoints.steps import steps_in

BACKBONE = "network.model.pixel_level_module.encoder.encoder."
MODEL, META, SUMS = "model.safetensors", "checkpoint.json", "SHA256SUMS"


class Judgement(NamedTuple):
    """value: of the metric; None if it has none, or none that is finite. on: what it was measured
    on."""

    value: float | None
    on: object


class InTorch(NamedTuple):
    """arrays: of the backbone, by the names of modeling_rats.py. mean, std: of images in 0..1.
    file: of the arrays. best: as in `restore.Restored`."""

    options: Options
    arrays: dict[str, np.ndarray]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    file: Path
    step: int
    best: tuple[str, float] | None


def read_in_torch(workdir: Path, config: ConfigDict, step: int | None) -> InTorch:
    """The best checkpoint if the run keeps one, else the newest; or the one at `step`. Raises
    UserError if there is none, or if it is damaged."""
    folder, run = workdir / "checkpoints", config.run
    steps = steps_in(folder)
    if not steps:
        raise UserError(f"{workdir} contains no checkpoint yet: wait until the run has saved one")
    if step is not None and step not in steps:
        listed = ", ".join(map(str, steps))
        raise UserError(f"{folder} contains no checkpoint {step}: it has {listed}")
    metas = {s: _meta(folder / str(s)) for s in (steps if step is None else [step])}
    value = {}
    if run.keep_best and step is None:
        value = comparable({s: judgement(meta, run.best_metric) for s, meta in metas.items()})
    highest = run.best_is == "highest"
    chosen = max(metas, key=partial(rank, value=value.get, highest=highest))
    about, file = metas[chosen]["about"]["backbone"], folder / str(chosen) / MODEL
    options = options_of(about["options"])
    if isinstance(options, RATSOptions):
        options = replace(options, parallel=config.model.parallel)
    best = (run.best_metric, value[chosen]) if chosen in value else None
    mean, std = tuple(about["mean"]), tuple(about["std"])
    return InTorch(options, _arrays(file), mean, std, file, chosen, best)


def judgement(meta: Mapping, metric: str) -> Judgement:
    """Of a checkpoint, from its META."""
    value = meta["metrics"].get(metric)
    known = value is not None and math.isfinite(value)
    return Judgement(value if known else None, meta["about"].get("evaluation"))


def comparable(judged: Mapping[int, Judgement]) -> dict[int, float]:
    """The values by step, of those that were measured on the same as the newest with a value."""
    known = {step: of for step, of in judged.items() if of.value is not None}
    return {step: of.value for step, of in known.items() if of.on == known[max(known)].on}


def digest(file: Path) -> str:
    """As SUMS has it."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _meta(folder: Path) -> Mapping:
    try:
        return json.loads((folder / META).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(error)) from None


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        sums = (file.parent / SUMS).read_text("ascii").splitlines()
        if f"{digest(file)}  {file.name}" not in sums:
            raise _damaged(file.parent, f"{file.name} is not as it was written")
        arrays = load_file(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(file.parent, str(error)) from None
    return {n.removeprefix(BACKBONE): x for n, x in arrays.items() if n.startswith(BACKBONE)}


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"the checkpoint {printable(str(folder))} is damaged ({printable(reason)}): give another "
        f"one, such as {printable(str(folder.parent / 'STEP'))}"
    )
