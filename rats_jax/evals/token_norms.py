"""Outlier tokens: the distribution of the norms of patch tokens in each layer, and the share of
outliers. Computed for python -m rats_jax.evaluate --task=norms.

Vision Transformers Need Registers (Darcet et al., arXiv 2309.16588) found such patches in DINOv2:
after the middle layers, some patches where the image has little information have a norm several
times that of others. Extra tokens take over their role.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.classification.labelled import LabelledImages
from rats_jax.classification.views import central_crop
from rats_jax.data.decode import UnreadableImage, decode_fast
from rats_jax.data.reading import LeftOut, in_batches, padded
from rats_jax.errors import UserError
from rats_jax.models import Features
from rats_jax.progress import Progress

BATCH = 16
SHOWN = 8  # images whose norms are drawn
PERCENT = (1, 5, 25, 50, 75, 95, 99)
# Norms are counted in bins one percent wide, so that memory does not grow with the images.
WIDTH = math.log(1.01)
LOWEST = 1e-4
BINS = round(math.log(1e10) / WIDTH)


class Outlier(NamedTuple):
    """The limit for outliers: norms above `value`, or, if `relative`, above `value` times the
    layer's median."""

    value: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.value:g} x median" if self.relative else f"{self.value:g}"


def outlier(given: str) -> Outlier:
    """Parses --outlier: "3x" is relative; "150", the paper's value for DINOv2, is absolute. Raises
    UserError."""
    relative = given.endswith("x")
    try:
        value = float(given.removesuffix("x"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"--outlier={given}: give a norm such as 150, or 3x for 3 times the median")
    return Outlier(value, relative)


class Norms:
    """Histograms of the norms in each layer."""

    def __init__(self, layers: int):
        self.layers = layers
        self._counts = np.zeros((layers, BINS), np.int64)
        self._largest = np.zeros(layers)

    def add(self, norms: np.ndarray) -> None:
        """Counts norms [images, layers, tokens]."""
        norms = np.moveaxis(norms, 1, 0).reshape(len(self._counts), -1).astype(np.float64)
        places = np.log(np.maximum(norms, LOWEST) / LOWEST) / WIDTH
        places = np.clip(places.astype(np.int64), 0, BINS - 1)
        for counts, of_layer in zip(self._counts, places, strict=True):
            counts += np.bincount(of_layer, minlength=BINS)
        self._largest = np.maximum(self._largest, norms.max(1))

    def largest(self, layer: int) -> float:
        return float(self._largest[layer])

    def percentile(self, layer: int, percent: float) -> float:
        """The percentile, accurate to half a percent of its value."""
        passed = self._counts[layer].cumsum()
        place = int(np.searchsorted(passed, percent / 100 * passed[-1]))
        return LOWEST * math.exp((place + 0.5) * WIDTH)

    def share_above(self, layer: int, norm: float) -> float:
        """The share of tokens with a larger norm; those within a percent of `norm` may or may not
        count."""
        place = math.log(max(norm, LOWEST) / LOWEST) / WIDTH
        return float(self._counts[layer][math.ceil(place) :].sum() / self._counts[layer].sum())


class ModelNorms(NamedTuple):
    """of: "patches", and "registers" and "[CLS]" if the model has them -> norms. shown: norms of
    the patches of the first images in the last layer, [S, L]."""

    of: dict[str, Norms]
    shown: np.ndarray


class TokenNorms(NamedTuple):
    """pictures: the first images, uint8 [S, side, side, 3]."""

    models: dict[str, ModelNorms]
    images: int
    pictures: np.ndarray


def measure_norms(
    models: Mapping[str, Backbone], images: LabelledImages, *, side: int, left_out: LeftOut
) -> TokenNorms:
    """Measures the norms of the output of every layer of each model, before the final LayerNorm.

    Images are cropped as for k-NN, to side x side pixels; labels are not used.

    Raises:
      UserError: a broken image that may not be left out; no image is left.
    """

    def crop(index: int) -> np.ndarray:
        try:
            return central_crop(decode_fast(images.source[index][0]), side)
        except (OSError, UnreadableImage) as error:
            raise images.broken(index, getattr(error, "strerror", None) or error) from error

    look = {name: _norms_of(model) for name, model in models.items()}
    found: dict[str, dict[str, Norms]] = {name: {} for name in models}
    shown: dict[str, list[np.ndarray]] = {name: [] for name in models}
    pictures: list[np.ndarray] = []
    count, progress = 0, Progress(images.name, len(images.source))
    for batch in in_batches(crop, range(len(images.source)), left_out, progress, size=BATCH):
        pixels = padded(batch, BATCH)
        more = max(SHOWN - len(pictures), 0)
        for name, norms_of in look.items():
            norms = {k: np.asarray(v)[: len(batch)] for k, v in norms_of(pixels).items()}
            for tokens, values in norms.items():
                found[name].setdefault(tokens, Norms(values.shape[1])).add(values)
            shown[name] += list(norms["patches"][:more, -1])
        pictures += batch[:more]
        count += len(batch)
    if not count:
        raise UserError(
            f"no image of {images.name} could be read; the first error: {left_out.lines[0]}"
        )
    of_models = {name: ModelNorms(found[name], np.stack(shown[name])) for name in models}
    return TokenNorms(of_models, count, np.stack(pictures))


def _norms_of(backbone: Backbone) -> Callable[[np.ndarray], dict[str, jax.Array]]:
    """uint8 [B, side, side, 3] -> name of the tokens -> [B, layers, tokens]"""
    options = backbone.options
    layers = range(options.depth)

    def norms(features: Features) -> dict[str, jax.Array]:
        def stacked(name: str) -> jax.Array:
            tokens = [getattr(features.layers[i].raw, name) for i in layers]
            return jnp.stack([jnp.linalg.norm(x.astype(jnp.float32), axis=-1) for x in tokens], 1)

        found = {"patches": stacked("patches")}
        if options.registers and options.registers_in_every_layer:
            found["registers"] = stacked("registers")
        if options.has_cls:
            found["[CLS]"] = stacked("global_vector")[..., None]
        return found

    run = jax.jit(backbone.taking(norms, layers_of=layers))
    return lambda images: run(backbone.params, images)
