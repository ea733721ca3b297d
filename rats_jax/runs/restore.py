"""A trained backbone out of the workdir of a run."""

from pathlib import Path
from typing import NamedTuple

import jax
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


def restore(workdir: Path, *, weights: str = "teacher") -> Restored:
    """The newest good checkpoint's teacher (or "student"), on the first device.

    A run may train there meanwhile.
    """
    config = load_config(workdir)
    network, init = make_model(config)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        jax.eval_shape(init, jax.random.key(0)),
    )
    with Checkpoints(workdir, read_only=True) as checkpoints:
        found = checkpoints.restore_part({weights: like})
    if found is None:
        raise UserError(f"{workdir} holds no checkpoint yet: let the run reach one")
    return Restored(network, found.state[weights], config, found.step)


def untrained(config: ConfigDict) -> Restored:
    """The same model as the run's first step starts from."""
    network, init = make_model(config)
    return Restored(network, jax.jit(init)(jax.random.key(config.seed)), config, 0)
