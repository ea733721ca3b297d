"""The backbone in a run of `rats finetune`."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
from flax import nnx
from ml_collections import ConfigDict

from rats_jax.config_kinds import FINETUNE, command_of
from rats_jax.errors import UserError
from rats_jax.models import Options, make_backbone
from rats_jax.models.options import options_of
from rats_jax.paths import printable
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.workdir import load_config


class Finetuned(NamedTuple):
    """params: of the backbone, on the first device. best: as in `restore.Restored`."""

    options: Options
    params: dict
    config: ConfigDict
    step: int
    best: tuple[str, float] | None


def is_finetuned(workdir: Path) -> bool:
    """Whether the run in a workdir is one of `rats finetune`. Raises UserError as `load_config`."""
    return command_of(load_config(workdir)) == FINETUNE


def restore_finetuned(workdir: Path, *, step: int | None = None) -> Finetuned:
    """The backbone of the best checkpoint by `config.run.best_metric` if the run keeps one, else of
    the newest; or of the one at `step`. Raises UserError if there is none."""
    config = load_config(workdir)
    if not config.model.backbone:
        raise UserError(
            f"{printable(str(workdir))} is a run of rats finetune with the decoder "
            f"{config.decoder.name}, whose checkpoints are not read here: give what it exported, "
            "or the weights that it started from"
        )
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
