"""The programs of pretraining, training step and monitor, and the arrays that they take."""

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import make_samples
from rats_jax.data.device_crops import crop_canvases, flip_crops
from rats_jax.dino.augment import Photometrics, augment, draw_parameters, normalize
from rats_jax.dino.monitors import vital_signs
from rats_jax.dino.step import DINO, DRAWS
from rats_jax.models.micro_batches import first_part
from rats_jax.models.step_key import step_key
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.runs.programs import abstract_batch, abstract_state


def abstract_samples(config: ConfigDict, mesh: Mesh) -> dict:
    """Shapes, dtypes and shardings of the samples of a global batch."""
    return abstract_batch(make_samples(config), config.optimizer.batch_size, mesh)


def make_train_step(dino: DINO, config: ConfigDict, mesh: Mesh):
    """(state, uint8 samples) -> (state, metrics), jitted; the state is donated."""
    settings = Photometrics(**config.photometrics)

    def make_crops(batch: dict) -> dict[str, jax.Array]:
        return augment(cut_out(config, batch["samples"]), batch["draws"], settings=settings)

    def train_step(state: dict, samples: dict[str, jax.Array]) -> tuple[dict, dict]:
        with on_mesh(mesh):
            draws = draw_parameters(
                step_key(state, "photometrics", DRAWS),
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


def cut_out(config: ConfigDict, samples: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Turns the samples from the host into uint8 crops."""
    if "canvas" in samples:
        sizes = {name: config.crops[name] for name in ("global_size", "local_size")}
        return crop_canvases(samples, **sizes)
    return flip_crops(samples)
