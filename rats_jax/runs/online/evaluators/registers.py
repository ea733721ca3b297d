"""The health of the teacher's registers, on the images with part masks or on a training batch."""

from typing import Any

import jax
import jax.numpy as jnp

from rats_jax.assemble import backbone_options
from rats_jax.dino.augment import normalize
from rats_jax.dino.register_health import health, health_sums
from rats_jax.dino.register_health import names as health_names
from rats_jax.models.micro_batches import first_part
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment, Opening
from rats_jax.runs.online.evaluators.parts import OnlineParts
from rats_jax.runs.pretraining_programs import abstract_samples, cut_out
from rats_jax.runs.programs import compiled


class OnlineRegisters(Evaluator):
    """Measures on the images with part masks; if parts are scored, both use the same forward pass.
    Without such images it measures on the global crops of a training batch, not augmented."""

    on = "parts"
    groups = ("registers", "heads", "patches")
    said = {
        "registers/distinct": "distinct registers",
        "registers/attention_entropy": "attention entropy",
    }

    def __init__(self, opening: Opening):
        config, dino, mesh = opening.config, opening.dino, opening.mesh
        self._options = backbone_options(config)
        self._parts: OnlineParts | None = opening.opened.get("parts")
        #: Measures the sums if the config does not list parts; its scores are not reported.
        self._unlisted = None if self._parts else OnlineParts.open(opening)
        self._heads = self._options.owning_heads or 1
        self._samples = abstract_samples(config, mesh)
        watched = (self._options.attended_layer,)

        def look(teacher: dict, samples: dict[str, jax.Array]) -> dict[str, jax.Array]:
            with on_mesh(mesh):
                crops = cut_out(config, first_part(samples, dino.accumulation))["global"]
                images = normalize(crops.reshape(-1, *crops.shape[2:]))
                features = dino.network.features(teacher, images, attention_of=watched)
                present = jnp.ones(len(images), bool)
                return health_sums(features, present, has_cls=self._options.has_cls)

        self._look = jax.jit(look, out_shardings=replicated(mesh))

    @classmethod
    def open(cls, opening: Opening) -> "OnlineRegisters":
        return cls(opening)

    @property
    def about(self) -> dict[str, Any]:
        return self._unlisted.about if self._unlisted else {}

    @property
    def names(self) -> list[str]:
        return health_names(
            attention_heads=self._options.heads,
            registers=self._options.registers,
            heads=self._heads,
        )

    def compile(self, teacher: dict) -> None:
        """See `Evaluator`."""
        if self._unlisted:
            self._unlisted.compile(teacher)
        elif not self._parts:
            lowered = self._look.lower(teacher, self._samples)
            self._program = compiled(lowered, what="the evaluation of registers")

    def measure(self, teacher: dict, moment: Moment) -> Found:
        """See `Evaluator`. No scalars if there are no images."""
        if self._unlisted:
            found = self._unlisted.measure(teacher, moment)
            sums = self._unlisted.health
            return Found(health(sums, heads=self._heads), found.left_out, facts=found.facts)
        if self._parts:
            sums = self._parts.health
        elif moment.samples is not None:
            sums = jax.device_get(self._program(teacher, moment.samples))
        else:
            sums = None
        return Found(health(sums, heads=self._heads) if sums else {})
