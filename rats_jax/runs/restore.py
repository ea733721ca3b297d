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
    """network.features(params, images) are the features; params may hold the backbone alone."""

    network: Network
    params: dict
    config: ConfigDict
    step: int


class Parts(NamedTuple):
    """state: the parts asked for, by name."""

    network: Network
    state: dict
    config: ConfigDict
    step: int


def restore(workdir: Path, *, weights: str = "teacher", step: int | None = None) -> Restored:
    """The newest good checkpoint's teacher (or "student"), or the one at `step`, on the first
    device.

    A run may train there meanwhile.
    """
    parts = restore_parts(workdir, [weights], step=step)
    return Restored(parts.network, parts.state[weights], parts.config, parts.step)


def restore_parts(workdir: Path, names: Sequence[str], *, step: int | None = None) -> Parts:
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
    with Checkpoints(workdir, read_only=True) as checkpoints:
        if step is not None:
            found = checkpoints.restore_step(step, like)
        elif (found := checkpoints.restore_part(like)) is None:
            raise UserError(f"{workdir} holds no checkpoint yet: let the run reach one")
    return Parts(network, found.state, config, found.step)


def untrained(config: ConfigDict) -> Restored:
    """The same model as the run's first step starts from."""
    network, init = make_model(config)
    return Restored(network, jax.jit(init)(jax.random.key(config.seed)), config, 0)
