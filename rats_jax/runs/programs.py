"""The compiled programs of a run, training step and monitor, and the arrays that they take."""

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import make_samples
from rats_jax.data.device_crops import crop_canvases, flip_crops
from rats_jax.device_failures import TRAIN_SMALLER, is_out_of_memory
from rats_jax.dino.augment import Photometrics, augment, draw_parameters, normalize
from rats_jax.dino.monitors import vital_signs
from rats_jax.dino.step import DINO, step_key
from rats_jax.errors import UserError
from rats_jax.models.micro_batches import first_part
from rats_jax.parallel.mesh import batch_sharding, on_mesh, replicated
from rats_jax.parallel.rules import state_shardings
from rats_jax.voice import say


def abstract_state(dino: DINO, seed: int, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the state."""
    state = jax.eval_shape(dino.init, seed)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )


def abstract_samples(config: ConfigDict, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the samples of a global batch."""
    batch_size, sharding = config.optimizer.batch_size, batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=sharding)
        for name, (shape, dtype) in make_samples(config).fields.items()
    }


def make_train_step(dino: DINO, config: ConfigDict, mesh: Mesh):
    """(state, uint8 samples) -> (state, metrics), jitted; the state is donated."""
    settings = Photometrics(**config.photometrics)

    def make_crops(batch: dict) -> dict[str, jax.Array]:
        return augment(cut_out(config, batch["samples"]), batch["draws"], settings=settings)

    def train_step(state: dict, samples: dict[str, jax.Array]) -> tuple[dict, dict]:
        with on_mesh(mesh):
            draws = draw_parameters(
                step_key(state, "photometrics"),
                images=len(samples["flips"]),
                local_crops=config.crops.local_crops,
                settings=settings,
            )
            return dino.step(state, {"samples": samples, "draws": draws}, make_crops=make_crops)

    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(dino, config.seed, mesh))
    return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))


def make_monitor(dino: DINO, config: ConfigDict, mesh: Mesh):
    """(state, uint8 samples) -> the teacher's vital signs on one micro-batch, jitted."""

    def monitor(state: dict, samples: dict[str, jax.Array]) -> dict[str, jax.Array]:
        with on_mesh(mesh):
            crops = cut_out(config, first_part(samples, dino.accumulation))
            return vital_signs(
                dino.network,
                state,
                {"global": normalize(crops["global"])},
                teacher_temperature=dino.schedules.teacher_temperature(state["step"]),
            )

    return jax.jit(monitor, out_shardings=replicated(mesh))


def compile_train_step(
    dino: DINO, config: ConfigDict, mesh: Mesh, state: dict
) -> jax.stages.Compiled:
    """Compiles the training step for a state of this structure."""
    say("compiling the training step, which takes minutes for a large model")
    arguments = state, abstract_samples(config, mesh)
    return compiled(make_train_step(dino, config, mesh).lower(*arguments))


def compile_monitor(dino: DINO, config: ConfigDict, mesh: Mesh, state: dict) -> jax.stages.Compiled:
    """Compiles the monitor for a state of this structure."""
    arguments = state, abstract_samples(config, mesh)
    return compiled(make_monitor(dino, config, mesh).lower(*arguments))


def cut_out(config: ConfigDict, samples: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Turns the samples from the host into uint8 crops."""
    if "canvas" in samples:
        sizes = {name: config.crops[name] for name in ("global_size", "local_size")}
        return crop_canvases(samples, **sizes)
    return flip_crops(samples)


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
