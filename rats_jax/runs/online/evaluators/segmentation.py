"""In-context segmentation with the teacher's patches, computed on the mesh of the run."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.assemble import backbone_options
from rats_jax.dino.augment import normalize
from rats_jax.errors import UserError
from rats_jax.parallel.mesh import on_mesh, replicated
from rats_jax.parts.datasets import POINTS, SAME_IDS, VOID
from rats_jax.parts.probes.in_context import NEIGHBOURS, drawn_patches, remembering
from rats_jax.parts.probes.patch_labels import (
    class_counts,
    ids_in,
    pixel_labels,
    places_of,
    points_of,
)
from rats_jax.parts.probes.pixel_scores import HEADERS, PixelCounts, count
from rats_jax.runs.online.data import check_resolution
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment, Opening
from rats_jax.runs.online.part_images import reading_threads
from rats_jax.runs.programs import compiled

MEMORY = 20_000  # the most patches that are remembered
TOGETHER = 8  # images that are labelled at once


class _Seen(NamedTuple):
    """The patches of an image, float32 [L, D], and its mask at points, int32 [h s, w s]."""

    patches: np.ndarray
    points: np.ndarray


class OnlineSegmentation(Evaluator):
    """Remembers every second image of `config.evaluation.parts` and labels the others.

    Works as `rats_jax.evaluate --task=segmentation --probe=in_context`, but in the dtype of
    training, with at most 20,000 patches, and scored at the points of `points_of` instead of all
    pixels. Every process has the patches of all images and computes the same scores.
    """

    on = "segmentation"
    groups = ("segmentation",)
    scores = {f"segmentation/{name}": f"in-context {title}" for name, title in HEADERS.items()}
    number = "k"

    def __init__(self, opening: Opening):
        config, network, mesh = opening.config, opening.dino.network, opening.mesh
        kind = config.evaluation.parts.partition(":")[0]
        if kind not in SAME_IDS:
            raise UserError(
                f"config.evaluation.measures has segmentation, but an id of {kind} means a "
                "different part in each image: give config.evaluation.parts of "
                f"{', '.join(k for k in SAME_IDS if k not in POINTS)}, or omit segmentation"
            )
        options, side = backbone_options(config), config.evaluation.resolution
        check_resolution(side, options)
        self._images, self._patch = opening.part_images, options.patch
        self._grid = (side // options.patch,) * 2
        points = points_of(np.zeros((side, side)), grid=self._grid, patch=options.patch)
        self._points = self._images.spread.abstract(points.shape, np.int32)

        def look(teacher: dict, images: jax.Array, present: jax.Array, points: jax.Array) -> tuple:
            with on_mesh(mesh):
                patches = network.features(teacher, normalize(images)).patches
                return patches.astype(jnp.float32), present, points

        self._look = jax.jit(look, out_shardings=replicated(mesh))

    @classmethod
    def open(cls, opening: Opening) -> "OnlineSegmentation | None":
        return cls(opening) if opening.config.evaluation.parts else None

    @property
    def about(self) -> dict[str, Any]:
        return self._images.about(neighbours=NEIGHBOURS, memory=MEMORY)

    @property
    def names(self) -> list[str]:
        return [f"{name}_{NEIGHBOURS}" for name in self.scores]

    def compile(self, teacher: dict) -> None:
        """See `Evaluator`."""
        self._program = compiled(
            self._look.lower(teacher, *self._images.abstract, self._points),
            what="the evaluation of segmentation",
            remedy="lower config.evaluation.resolution",
        )

    def measure(self, teacher: dict, moment: Moment) -> Found:
        """See `Evaluator`."""
        seen = self._see(teacher, moment)
        if not all(np.isfinite(of.patches).all() for of in seen.values()):
            raise UserError(
                "config.evaluation: the teacher's patches are not finite, so they cannot be "
                "compared: the training diverged; see guards in docs/operations.md"
            )
        memory = [of for number, of in seen.items() if number % 2 == 0]
        scored = [of for number, of in seen.items() if number % 2]
        classes = np.unique(np.concatenate([[VOID], *(ids_in(of.points) for of in memory)]))[1:]
        if len(classes) < 2 or not any((of.points != VOID).any() for of in scored):
            raise UserError(
                f"config.evaluation.parts: segmentation needs two classes in every second image of "
                f"{self._images.data.name} that can be read, and a labelled pixel in the others: "
                "give more images, or omit segmentation from config.evaluation.measures"
            )
        counts = self._counted(memory, scored, classes, moment)
        found = dict(zip(self.names, map(float, counts.mean()), strict=True))
        return Found(found, left_out=len(self._images) - len(seen))

    def _see(self, teacher: dict, moment: Moment) -> dict[int, _Seen]:
        """The images that can be read, of all processes, by their number."""
        images, found = self._images, {}
        with reading_threads() as pool:
            for number, samples in enumerate(images.batches(pool, on_error=moment.on_error)):
                masks = {
                    row: points_of(sample.mask, grid=self._grid, patch=self._patch)
                    for row, sample in samples.items()
                }
                points = images.spread.put(masks, self._points, VOID)
                batch = jax.device_get(self._program(teacher, *images.put(samples), points))
                patches, present, points = map(np.asarray, batch)
                for row in np.flatnonzero(present).tolist():
                    number_of_image = number * images.spread.batch_size + row
                    found[number_of_image] = _Seen(patches[row], points[row])
                moment.beat()
        return found

    def _counted(
        self, memory: Sequence[_Seen], scored: Sequence[_Seen], classes: np.ndarray, moment: Moment
    ) -> PixelCounts:
        """The counts of the scored images."""
        share = max(MEMORY // len(memory), 1)
        vectors, labels = [], []
        for number, of in enumerate(memory):
            places = places_of(of.points, classes)[None]
            counts = class_counts(places, grid=self._grid, classes=len(classes))[0]
            chosen = drawn_patches(counts.any(-1), number, share=share)
            vectors.append(of.patches[chosen])
            labels.append(counts[chosen])
        predict = remembering(np.concatenate(vectors), np.concatenate(labels))
        found = PixelCounts()
        for start in range(0, len(scored), TOGETHER):
            together = scored[start : start + TOGETHER]
            shares = predict(np.concatenate([of.patches for of in together]))
            for of, of_image in zip(together, np.split(shares, len(together)), strict=True):
                predicted = pixel_labels(of_image.reshape(*self._grid, -1), of.points.shape)
                found.add(*count(of.points, [predicted], classes))
            moment.beat()
        return found
