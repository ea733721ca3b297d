"""Fine-tuning in JAX, as the loop of a run trains it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.data.samples import Samples
from rats_jax.finetuning.images import make_samples
from rats_jax.mask_head.step import LinearTraining, MaskTraining
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.runs.guards.alarms import INPUT_STARVED, STEPS_SKIPPED, Alarms
from rats_jax.runs.programs import abstract_state
from rats_jax.segmentation.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """See `runs.method.Schedules`. An epoch has as many steps as whole batches, at least one."""

    rate: Schedule
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        return self.rate.steps

    def learning_rate(self, step: jax.Array) -> jax.Array:
        return self.rate.learning_rate(step, xp=jnp)

    def values(self, step: int) -> dict[str, Any]:
        return {"the learning rate": self.rate.learning_rate(step)}

    def ends(self) -> dict[str, int]:
        return {"the warm-up": self.rate.warmup_steps}


def schedules_of(config: ConfigDict, *, images: int) -> Schedules:
    """Of a config, for a data set of `images` images."""
    return Schedules(
        rate=Schedule.of(config.optimizer),
        steps_per_epoch=max(images // config.optimizer.batch_size, 1),
    )


@dataclass(frozen=True)
class FineTuning:
    """A `Method`. decoder: made of the same config, with the same schedules."""

    config: ConfigDict
    decoder: MaskTraining | LinearTraining
    schedules: Schedules

    evaluated = "student"

    @property
    def samples(self) -> Samples:
        return make_samples(self.config)

    @property
    def input(self) -> str:
        return f"{self.config.task}, crops of {self.config.data.crop} pixels"

    def schedules_of(self, config: ConfigDict, *, images: int) -> Schedules:
        return schedules_of(config, images=images)

    def init(self, seed: int) -> dict:
        return self.decoder.init(seed)

    def train_step(self, mesh: Mesh) -> jax.stages.Wrapped:
        def train_step(state: dict, batch: dict[str, jax.Array]) -> tuple[dict, dict]:
            with on_mesh(mesh):
                return self.decoder.step(state, batch)

        state = abstract_state(self, self.config.seed, mesh)
        shardings = jax.tree.map(lambda x: x.sharding, state)
        return jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))

    def monitor(self, mesh: Mesh) -> None:
        return None

    def alarms(self) -> Alarms:
        return Alarms(rules=(INPUT_STARVED, STEPS_SKIPPED))

    def figures(self, scalars: Mapping[str, float]) -> list[str]:
        parts = [(x, f"{x}_loss") for x in ("class", "mask", "dice")]
        losses = [f"{said} {scalars[name]:.4f}" for said, name in parts if name in scalars]
        right = [
            f"{name.replace('_', ' ')} {scalars[name]:.1%}"
            for name in ("class_accuracy", "pixel_accuracy")
            if name in scalars
        ]
        return [*losses, *right, f"gradient {scalars['gradient_norm']:.2f}"]

    def warnings(self, mesh: Mesh) -> Iterator[str]:
        run, steps = self.config.run, self.schedules.steps
        has, every = f"the run has {steps:,} steps", self.config.evaluation.every_steps
        if run.log_every > steps:
            yield f"config.run.log_every={run.log_every} and {has}: there is one report; lower it"
        between = run.keep_best and 0 < every < steps
        if run.checkpoint_every > steps and not between:
            yield (
                f"config.run.checkpoint_every={run.checkpoint_every} and {has}: nothing is saved "
                "before the end, and a run that is killed starts again from step 0; lower it"
            )
