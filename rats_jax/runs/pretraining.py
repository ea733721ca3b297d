"""DINO self-distillation, as the loop of a run trains it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options, make_samples
from rats_jax.config import schedules as schedules_of
from rats_jax.data.samples import Samples
from rats_jax.dino.schedules import Schedules
from rats_jax.dino.step import DINO
from rats_jax.runs.guards.alarms import Alarms, heads_with_registers, warm_steps
from rats_jax.runs.machine import slow_steps
from rats_jax.runs.pretraining_programs import make_monitor, make_train_step
from rats_jax.runs.spans import span_warnings


@dataclass(frozen=True)
class Pretraining:
    """A `Method`. dino: made of the same config."""

    config: ConfigDict
    dino: DINO

    evaluated = "teacher"

    @property
    def schedules(self) -> Schedules:
        return self.dino.schedules

    @property
    def samples(self) -> Samples:
        return make_samples(self.config)

    @property
    def input(self) -> str:
        return self.config.data.cropping

    def schedules_of(self, config: ConfigDict, *, images: int) -> Schedules:
        return schedules_of(config, images=images)

    def init(self, seed: int) -> dict:
        return self.dino.init(seed)

    def train_step(self, mesh: Mesh) -> jax.stages.Wrapped:
        return make_train_step(self.dino, self.config, mesh)

    def monitor(self, mesh: Mesh) -> jax.stages.Wrapped | None:
        if self.config.guards.collapse == "off":
            return None
        return make_monitor(self.dino, self.config, mesh)

    def alarms(self) -> Alarms:
        return Alarms(
            prototypes=self.config.head.prototypes,
            warm=warm_steps(self.schedules),
            heads=heads_with_registers(backbone_options(self.config)),
            entries=self.config.dictionary.entries,
        )

    def figures(self, scalars: Mapping[str, float]) -> list[str]:
        parts = [
            f"teacher entropy {scalars['teacher_entropy']:.3f}",
            f"KL {scalars['kl']:.4f}",
            f"center {scalars['center_norm']:.2f}",
        ]
        if "dictionary_loss" in scalars:
            loss, used = scalars["dictionary_loss"], scalars["dictionary_used"]
            parts.append(f"dictionary {loss:.3f}, {used:.0%} used")
        return parts

    def warnings(self, mesh: Mesh) -> Iterator[str]:
        yield from span_warnings(self.config, self.schedules)
        yield from slow_steps(self.config, mesh, self.schedules)
