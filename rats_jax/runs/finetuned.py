"""The backbone in a run of `rats finetune`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.config_kinds import FINETUNE, command_of
from rats_jax.errors import UserError
from rats_jax.models import Options, make_backbone
from rats_jax.models.options import options_of
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.finetuned_in_torch import InTorch, read_in_torch
from rats_jax.runs.workdir import load_config
from rats_jax.weights.names import from_torch


class Finetuned(NamedTuple):
    """params: of the backbone, on the first device. best: as in `restore.Restored`. normalisation:
    mean and std of images in 0..1, if they are recorded."""

    options: Options
    params: dict
    config: ConfigDict
    step: int
    best: tuple[str, float] | None
    normalisation: tuple[Sequence[float], ...] = ()


def is_finetuned(workdir: Path) -> bool:
    """Whether the run in a workdir is one of `rats finetune`. Raises UserError as `load_config`."""
    return command_of(load_config(workdir)) == FINETUNE


def restore_finetuned(workdir: Path, *, step: int | None = None) -> Finetuned:
    """The backbone of the best checkpoint by `config.run.best_metric` if the run keeps one, else of
    the newest; or of the one at `step`. Raises UserError if there is none."""
    config = load_config(workdir)
    if not config.model.backbone:
        return _of_torch(read_in_torch(workdir, config, step), config)
    options, run = options_of(json.loads(config.model.backbone)), config.run
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    module = nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0)))
    params = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        nnx.to_pure_dict(nnx.state(module)),
    )
    like = {"student": {"backbone": params}}
    by_metric = step is None and run.keep_best > 0
    settings = {"best_metric": run.best_metric, "best_is": run.best_is} if by_metric else {}
    with Checkpoints(workdir, read_only=True, **settings) as checkpoints:
        if step is not None:
            found = checkpoints.restore_step(step, like)
        else:
            restore = checkpoints.restore_best if by_metric else checkpoints.restore_part
            found = restore(like)
    if found is None:
        raise UserError(f"{workdir} contains no checkpoint yet: wait until the run has saved one")
    best = None
    if by_metric and found.value is not None:
        best = run.best_metric, found.value
    return Finetuned(options, found.state["student"]["backbone"], config, found.step, best)


def _of_torch(found: InTorch, config: ConfigDict) -> Finetuned:
    module = nnx.eval_shape(lambda: make_backbone(found.options, rngs=nnx.Rngs(0)))
    like = nnx.to_pure_dict(nnx.state(module))
    params = jax.device_put(from_torch(found.arrays, like, source=str(found.file)))
    normalisation = found.mean, found.std
    return Finetuned(found.options, params, config, found.step, found.best, normalisation)
