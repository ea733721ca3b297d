"""A trained backbone out of the workdir of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rats_jax.assemble import make_model
from rats_jax.dino.network import Network
from rats_jax.errors import UserError
from rats_jax.runs.checkpoint import Checkpoints
from rats_jax.runs.workdir import load_config


class Restored(NamedTuple):
    """network.features(params, images) are the features; params may hold the backbone alone.
    best: the metric that the step is the best of, and its value; None for another step."""

    network: Network
    params: dict
    config: ConfigDict
    step: int
    best: tuple[str, float] | None = None


class Parts(NamedTuple):
    """state: the parts asked for, by name. best: as of Restored."""

    network: Network
    state: dict
    config: ConfigDict
    step: int
    best: tuple[str, float] | None = None


def restore(
    workdir: Path, *, weights: str = "teacher", step: int | None = None, best: bool = False
) -> Restored:
    """The newest good checkpoint's teacher (or "student"), or the one at `step`, on the first
    device.

    best: the best good one by `config.run.best_metric`, if the run keeps a best one and has it.
    A run may train there meanwhile.
    """
    parts = restore_parts(workdir, [weights], step=step, best=best)
    return Restored(parts.network, parts.state[weights], parts.config, parts.step, parts.best)


def restore_parts(
    workdir: Path, names: Sequence[str], *, step: int | None = None, best: bool = False
) -> Parts:
    """As `restore`: of "student", "teacher" ({"backbone", "head"}) and "center" those named."""
    config = load_config(workdir)
    network, init = make_model(config)
    params = jax.eval_shape(init, jax.random.key(0))
    center = jax.ShapeDtypeStruct((network.losses, config.head.prototypes), jnp.float32)
    state = {"student": params, "teacher": params, "center": center}
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        {name: state[name] for name in names},
    )
    run = config.run
    by_metric = best and step is None and run.get("keep_best", 0) > 0
    settings = {"best_metric": run.best_metric, "best_is": run.best_is} if by_metric else {}
    with Checkpoints(workdir, read_only=True, **settings) as checkpoints:
        if step is not None:
            found = checkpoints.restore_step(step, like)
        elif by_metric:
            found = checkpoints.restore_best(like)
        else:
            found = checkpoints.restore_part(like)
    if found is None:
        raise UserError(f"{workdir} holds no checkpoint yet: let the run reach one")
    best_of = None
    if by_metric and found.value is not None:
        best_of = run.best_metric, found.value
    return Parts(network, found.state, config, found.step, best_of)


def untrained(config: ConfigDict) -> Restored:
    """The same model as the run's first step starts from."""
    network, init = make_model(config)
    return Restored(network, jax.jit(init)(jax.random.key(config.seed)), config, 0)
