"""The compiled programs of a run, training step and monitor, and the arrays that they take."""

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.config_kinds import FINETUNE, command_of
from rats_jax.data.samples import Samples
from rats_jax.device_failures import FINETUNE_SMALLER, TRAIN_SMALLER, is_out_of_memory
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import batch_sharding
from rats_jax.parallel.rules import state_shardings
from rats_jax.runs.method import Method
from rats_jax.voice import say


def abstract_state(method: Method, seed: int, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the state. method: anything with its `init`."""
    state = jax.eval_shape(method.init, seed)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )


def abstract_batch(samples: Samples, batch_size: int, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the samples of a global batch."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)
        for name, (shape, dtype) in samples.fields.items()
    }


def compile_train_step(
    method: Method, config: ConfigDict, mesh: Mesh, state: dict
) -> jax.stages.Compiled:
    """Compiles the training step for a state of this structure."""
    say("compiling the training step, which takes minutes for a large model")
    batch = abstract_batch(method.samples, config.optimizer.batch_size, mesh)
    remedy = FINETUNE_SMALLER if command_of(config) == FINETUNE else TRAIN_SMALLER
    return compiled(method.train_step(mesh).lower(state, batch), remedy=remedy)


def compile_monitor(
    method: Method, config: ConfigDict, mesh: Mesh, state: dict
) -> jax.stages.Compiled | None:
    """Compiles the monitor for a state of this structure; None if the method has none."""
    if (monitor := method.monitor(mesh)) is None:
        return None
    batch = abstract_batch(method.samples, config.optimizer.batch_size, mesh)
    return compiled(monitor.lower(state, batch))


def compiled(
    program: jax.stages.Lowered,
    *,
    what: str = "the training step",
    remedy: str = TRAIN_SMALLER,
) -> jax.stages.Compiled:
    """Compiles a program. Raises UserError if it does not fit in the devices' memory."""
    try:
        return program.compile()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{what} does not fit in the devices' memory: {remedy}") from None
