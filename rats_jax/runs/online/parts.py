"""Part discovery and register health of the teacher, on the mesh where it lies."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from PIL import Image

from rats_jax.data.subset import evenly
from rats_jax.dino.augment import normalize
from rats_jax.dino.network import Network
from rats_jax.dino.register_health import health_sums, layer_to_watch
from rats_jax.errors import UserError
from rats_jax.models import Features
from rats_jax.parallel.distributed import gather
from rats_jax.parallel.mesh import batch_sharding, on_mesh, replicated
from rats_jax.parts.datasets import VOID
from rats_jax.parts.null_regions import grid_regions
from rats_jax.parts.region_metrics import UNSCORED, RegionScores, score
from rats_jax.parts.regions import (
    attention_regions,
    register_regions,
    resize_labels,
)
from rats_jax.parts.truth import Truth, check, total, truth_of
from rats_jax.runs.online.data import (
    fingerprint_of_parts,
    headline,
    numbers_of_regions,
    open_parts,
)
from rats_jax.runs.online.pictures import COUNT, Shown
from rats_jax.runs.online.spread import Spread, own_rows
from rats_jax.runs.programs import compiled


class Measured(NamedTuple):
    """scores: K -> means over images; grid: the same of a plain grid, where it was asked for.
    health: sums, see `register_health`. left_out: images that could not be read. truth: what the
    masks are like. shown: a few images with their regions, in process 0."""

    scores: dict[int, RegionScores]
    grid: dict[int, RegionScores]
    health: dict[str, np.ndarray]
    left_out: int
    truth: Truth
    shown: list[Shown]


class OnlineParts:
    """Scores the teacher's regions on images with part masks.

    Images are squeezed to `config.evaluation.resolution` and pass through the network in the dtype
    of training; regions are scored at the size of the mask. Every process scores the images of its
    devices, in threads, while the devices compute; all come to the same figures.

    Attributes:
      k: the number of regions of the images that are shown.
    """

    def __init__(self, config: ConfigDict, network: Network, mesh: Mesh):
        self._top_k = numbers_of_regions(config)
        self._data = open_parts(config)
        self._fingerprint = fingerprint_of_parts(self._data)
        self._side, self._smoothing = config.evaluation.resolution, config.evaluation.smoothing
        # A ViT's regions are its attention, of which there is nothing to center.
        self._centered = config.evaluation.centered and config.model.architecture != "vit"
        self._chosen = evenly(len(self._data), config.evaluation.images)
        self._spread = Spread(mesh, len(self._chosen))
        self._images = self._spread.abstract((self._side, self._side, 3), np.uint8)
        self._present = self._spread.abstract((), np.bool_)
        self.k = headline(self._top_k, config.run.best_metric)
        self._shown = self._spread.own()
        self._shown = self._shown[evenly(len(self._shown), COUNT)].tolist()
        self._look = _looking(config, network, mesh, self._top_k)

    @property
    def about(self) -> dict:
        """What is measured: figures with another one do not compare."""
        return {
            "data": self._data.name,
            "flattening": self._data.flattening,
            "images": len(self._chosen),
            "of": len(self._data),
            "resolution": self._side,
            "smoothing": self._smoothing,
            "centered": self._centered,
            "fingerprint": self._fingerprint,
        }

    @property
    def notes(self) -> Sequence[str]:
        """What the data set left out or took otherwise."""
        return self._data.notes

    @property
    def names(self) -> list[str]:
        """Those of `figures`."""
        return list(figures(dict.fromkeys(self._top_k, UNSCORED)))

    def compile(self, teacher: dict) -> None:
        """Before the first call of `measure`. teacher: arrays, or abstract ones."""
        self._program = compiled(
            self._look.lower(teacher, self._images, self._present),
            what="the evaluation of parts",
            remedy="lower config.evaluation.resolution",
        )

    def measure(
        self,
        teacher: dict,
        *,
        grid: bool,
        beat: Callable[[], None],
        on_error: Callable[[UserError], None],
    ) -> Measured:
        """grid: whether to score a plain grid, too. beat: called after each batch. on_error: for
        images that cannot be read."""
        sums: dict[str, np.ndarray] = {}
        scoring: list[Future] = []
        shown: list[Shown] = []
        truths: list[Truth] = []
        with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool:
            try:
                reading = self._spread.read(pool, self._read, on_error=on_error)
                for number, samples in enumerate(reading):
                    images = {row: image for row, (image, _, _) in samples.items()}
                    labels, health = self._program(
                        teacher,
                        self._spread.put(images, self._images),
                        self._spread.put(dict.fromkeys(samples, np.True_), self._present),
                    )
                    for row, maps in own_rows(labels):
                        if row in samples:
                            image, mask, truth = samples[row]
                            truths.append(truth)
                            scoring.append(pool.submit(_scored, maps, mask, self._top_k, grid))
                            if number * self._spread.batch_size + row in self._shown:
                                labels = maps[self._top_k.index(self.k)]
                                shown.append(Shown(image, mask, labels))
                    for name, x in jax.device_get(health).items():
                        sums[name] = sums.get(name, 0) + np.asarray(x, np.float64)
                    beat()
                scores = [each.result() for each in scoring]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        beat()
        own, *plain = self._means(scores, ways=2 if grid else 1)
        left_out = len(self._chosen) - int(sums["images"])
        truth = total(Truth(**of) for of in gather(total(truths)._asdict()))
        try:
            check(truth, of=self._data.name)
        except UserError as error:
            raise UserError(f"config.evaluation.parts: {error}") from None
        return Measured(own, plain[0] if grid else {}, sums, left_out, truth, shown)

    def _means(self, scores: list[np.ndarray], *, ways: int) -> list[dict[int, RegionScores]]:
        """Over the images of all processes, those without a labelled pixel left out."""
        shape = ways, len(self._top_k), len(RegionScores._fields)
        scores = np.array(scores, np.float64).reshape(-1, *shape)
        scores = scores[~np.isnan(scores).any((1, 2, 3))]
        told = gather({"count": len(scores), "sums": scores.sum(0).tolist()})
        if not (count := sum(of["count"] for of in told)):
            raise UserError(
                f"config.evaluation.parts: no image of {self._data.name} could be read and scored"
            )
        means = np.sum([of["sums"] for of in told], axis=0) / count
        return [
            {k: RegionScores(*map(float, of)) for k, of in zip(self._top_k, way, strict=True)}
            for way in means
        ]

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray, Truth]:
        sample = self._data.sample(int(self._chosen[i]))
        image = Image.fromarray(sample.image)
        if image.size != (self._side, self._side):
            image = image.resize((self._side, self._side), Image.Resampling.BICUBIC)
        return np.asarray(image), sample.mask, truth_of(sample)


def figures(scores: Mapping[int, RegionScores]) -> dict[str, float]:
    """parts/SCORE_K, such as parts/m2o_8: fractions, as `region_metrics.score` has them."""
    return {
        f"parts/{part}_{k}": float(value)
        for k, of_k in scores.items()
        for part, value in of_k._asdict().items()
    }


def _looking(config: ConfigDict, network: Network, mesh: Mesh, top_k: tuple[int, ...]):
    """(teacher, images uint8 [B, S, S, 3], present [B]) -> (labels int32 [B, K values, h, w],
    sums of `register_health`), jitted."""
    model, sigma = config.model, config.evaluation.smoothing
    grid = (config.evaluation.resolution // model.patch,) * 2
    watched = layer_to_watch(model.architecture, model.depth)

    def regions(features: Features, k: int) -> jax.Array:
        if model.architecture == "vit":
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
            return labels, health_sums(features, present)

    return jax.jit(look, out_shardings=(batch_sharding(mesh), replicated(mesh)))


def _scored(
    maps: np.ndarray, mask: np.ndarray, top_k: tuple[int, ...], grid: bool
) -> list[list[RegionScores]]:
    """[the model, and a grid if it is asked for][K]"""
    ways = [[resize_labels(labels, mask.shape) for labels in maps]]
    if grid:
        ways.append([grid_regions(size=mask.shape, k=k) for k in top_k])
    return [[score(labels, mask, void=VOID) for labels in way] for way in ways]
