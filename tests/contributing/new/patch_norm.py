"""The mean length of the teacher's patches."""

from typing import Any

import jax
import jax.numpy as jnp

from rats_jax.dino.augment import normalize
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment, Opening
from rats_jax.runs.online.part_images import add, reading_threads
from rats_jax.runs.programs import compiled


class PatchNorm(Evaluator):
    """On the images with part masks."""

    on = "patch_norm"
    groups = ("patch_norm",)
    said = {"patch_norm/mean": "patch norm"}

    def __init__(self, opening: Opening):
        self._images, network = opening.part_images, opening.dino.network

        def look(teacher: dict, images: jax.Array, present: jax.Array) -> dict[str, jax.Array]:
            with on_mesh(opening.mesh):
                patches = network.features(teacher, normalize(images)).patches
                norms = jnp.linalg.norm(patches.astype(jnp.float32), axis=-1).mean(1)
                return {"norms": present @ norms, "images": present.sum()}

        self._look = jax.jit(look, out_shardings=replicated(opening.mesh))

    @classmethod
    def open(cls, opening: Opening) -> "PatchNorm | None":
        return cls(opening) if opening.part_images else None

    @property
    def about(self) -> dict[str, Any]:
        return self._images.about()

    @property
    def names(self) -> list[str]:
        return ["patch_norm/mean"]

    def compile(self, teacher: dict) -> None:
        lowered = self._look.lower(teacher, *self._images.abstract)
        self._program = compiled(lowered, what="the evaluation of patch norms")

    def measure(self, teacher: dict, moment: Moment) -> Found:
        sums: dict = {}
        with reading_threads() as pool:
            for samples in self._images.batches(pool, on_error=moment.on_error):
                add(sums, self._program(teacher, *self._images.put(samples)))
                moment.beat()
        mean = float(sums["norms"] / sums["images"])
        return Found({self.names[0]: mean}, len(self._images) - int(sums["images"]))
