"""Part discovery with the teacher, computed on the mesh of the run."""

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.data.subset import evenly
from rats_jax.dino.augment import normalize
from rats_jax.dino.network import Network
from rats_jax.dino.register_health import health_sums
from rats_jax.errors import UserError
from rats_jax.models import Features
from rats_jax.parallel.distributed import gather
from rats_jax.parallel.mesh import batch_sharding, on_mesh, replicated
from rats_jax.parts.datasets import VOID
from rats_jax.parts.null_regions import grid_regions
from rats_jax.parts.region_metrics import RegionScores, score
from rats_jax.parts.regions import attention_regions, register_regions, resize_labels
from rats_jax.parts.truth import Truth, check, report, total
from rats_jax.runs.online.data import PART_SCORES, headline, top_k_of
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment, Opening
from rats_jax.runs.online.part_images import PartImages, add, reading_threads
from rats_jax.runs.online.pictures import COUNT, Shown, part_picture
from rats_jax.runs.online.spread import own_rows
from rats_jax.runs.programs import compiled
from rats_jax.voice import say


class OnlineParts(Evaluator):
    """Scores the teacher's regions on images with part masks.

    The network runs in the dtype of training; regions are scored at the size of the mask. Every
    process scores the images of its devices, in threads, while the devices compute. All processes
    return the same values.

    Attributes:
      health: sums of `register_health` over the images of the last `measure`; empty if it failed.
    """

    on = "parts"
    groups = ("parts",)
    scores = PART_SCORES
    unsaid = ("parts/mbo", "parts/fg_ari")
    number = "K"

    def __init__(self, opening: Opening):
        config = opening.config
        self._top_k = top_k_of(config)
        self._images: PartImages = opening.part_images
        self._smoothing = config.evaluation.smoothing
        # A ViT's regions come from its attention, which is not centered.
        self._centered = config.evaluation.centered and not backbone_options(config).has_cls
        self._k = headline(self._top_k, config.run.best_metric)  # of the pictures
        shown = self._images.spread.own()
        self._shown = shown[evenly(len(shown), COUNT)].tolist()
        self._look = _looking(config, opening.dino.network, opening.mesh, self._top_k)
        self.health: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, opening: Opening) -> "OnlineParts | None":
        return cls(opening) if opening.config.evaluation.parts else None

    @property
    def about(self) -> dict[str, Any]:
        return self._images.about(smoothing=self._smoothing, centered=self._centered)

    @property
    def names(self) -> list[str]:
        has_background = self._images.data.background is not None
        parts = [part for part in RegionScores._fields if part != "fg_ari" or has_background]
        return [f"parts/{part}_{k}" for k in self._top_k for part in parts]

    def compile(self, teacher: dict) -> None:
        """See `Evaluator`."""
        self._program = compiled(
            self._look.lower(teacher, *self._images.abstract),
            what="the evaluation of parts",
            remedy="lower config.evaluation.resolution",
        )

    def measure(self, teacher: dict, moment: Moment) -> Found:
        """See `Evaluator`. The pictures show a few images with their regions."""
        self.health, health = {}, {}
        images, batch_size = self._images, self._images.spread.batch_size
        facts = {"grid": moment.first, "background": images.data.background}
        score_image = partial(_scored, top_k=self._top_k, **facts)
        scoring: list[Future] = []
        shown: list[Shown] = []
        truths: list[Truth] = []
        with reading_threads() as pool:
            for number, samples in enumerate(images.batches(pool, on_error=moment.on_error)):
                labels, sums = self._program(teacher, *images.put(samples))
                for row, maps in own_rows(labels):
                    if row in samples:
                        image, mask, truth = samples[row]
                        truths.append(truth)
                        scoring.append(pool.submit(score_image, maps, mask))
                        if number * batch_size + row in self._shown:
                            shown.append(Shown(image, mask, maps[self._top_k.index(self._k)]))
                add(health, sums)
                moment.beat()
            scores = [each.result() for each in scoring]
        moment.beat()
        own, *plain = self._means(scores, ways=2 if moment.first else 1)
        truth = total(Truth(**of) for of in gather(total(truths)._asdict()))
        try:
            check(truth, of=images.data.name)
        except UserError as error:
            raise UserError(f"config.evaluation.parts: {error}") from None
        self.health = health
        return Found(
            figures(own),
            left_out=len(images) - int(health["images"]),
            grid=figures(plain[0]) if plain else {},
            facts={"masks": self._masks(truth, first=moment.first)},
            pictures={"parts/regions": partial(part_picture, shown, k=self._k)} if shown else {},
        )

    def _masks(self, truth: Truth, *, first: bool) -> dict[str, Any]:
        """Facts of the masks; warnings are printed only in the first evaluation."""
        lines = report(truth)
        for line in lines if first else ():
            if line.startswith("warning: "):
                say(f"{line} (config.evaluation.parts)")
        return truth._asdict() | {"report": lines, "notes": list(self._images.data.notes)}

    def _means(self, scores: list[np.ndarray], *, ways: int) -> list[dict[int, RegionScores]]:
        """Means over the images of all processes; each score over the images that have it."""
        shape = ways, len(self._top_k), len(RegionScores._fields)
        scores = np.array(scores, np.float64).reshape(-1, *shape)
        known = ~np.isnan(scores)
        sums = np.where(known, scores, 0).sum(0)
        gathered = gather({"counts": known.sum(0).tolist(), "sums": sums.tolist()})
        counts = np.sum([of["counts"] for of in gathered], axis=0)
        if not counts.any():
            raise UserError(
                f"config.evaluation.parts: no image of {self._images.data.name} could be read and "
                "scored"
            )
        sums = np.sum([of["sums"] for of in gathered], axis=0)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return [
            {k: RegionScores(*map(float, of)) for k, of in zip(self._top_k, way, strict=True)}
            for way in means
        ]


def figures(scores: Mapping[int, RegionScores]) -> dict[str, float]:
    """parts/SCORE_K, such as parts/m2o_8 -> fraction, as `region_metrics.score` returns it; without
    scores that cannot be measured."""
    return {
        f"parts/{part}_{k}": float(value)
        for k, of_k in scores.items()
        for part, value in of_k.measured().items()
    }


def _looking(config: ConfigDict, network: Network, mesh: Mesh, top_k: tuple[int, ...]):
    """(teacher, images uint8 [B, S, S, 3], present [B]) -> (labels int32 [B, K values, h, w],
    sums of `register_health`), jitted."""
    options, sigma = backbone_options(config), config.evaluation.smoothing
    grid = (config.evaluation.resolution // options.patch,) * 2
    watched = options.attended_layer

    def regions(features: Features, k: int) -> jax.Array:
        if options.has_cls:
            attention = features.attention[watched][:, :, 0]
            return attention_regions(attention=attention, grid=grid, sigma=sigma)
        return register_regions(
            registers=features.registers,
            patches=features.patches,
            grid=grid,
            top_k=k,
            sigma=sigma,
            centered=config.evaluation.centered,
        )

    def look(teacher: dict, images: jax.Array, present: jax.Array) -> tuple[jax.Array, dict]:
        with on_mesh(mesh):
            features = network.features(teacher, normalize(images), attention_of=(watched,))
            labels = jnp.stack([regions(features, k) for k in top_k], axis=1)
            return labels, health_sums(features, present, has_cls=options.has_cls)

    return jax.jit(look, out_shardings=(batch_sharding(mesh), replicated(mesh)))


def _scored(
    maps: np.ndarray,
    mask: np.ndarray,
    top_k: tuple[int, ...],
    grid: bool,
    background: int | None = None,
) -> list[list[RegionScores]]:
    """Scores [the model, and the grid if requested][K]."""
    ways = [[resize_labels(labels, mask.shape) for labels in maps]]
    if grid:
        ways.append([grid_regions(size=mask.shape, k=k) for k in top_k])
    return [
        [score(labels, mask, void=VOID, background=background) for labels in way] for way in ways
    ]
