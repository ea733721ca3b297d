"""Pictures whose classes are told apart by colour, and a model that sees nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from rats_jax.backbones import Backbone
from rats_jax.models.features import Features, Layer, Tokens
from rats_jax.models.options import Options, ViTOptions

COLOURS = {"blue": (40, 60, 200), "green": (60, 190, 80), "red": (200, 60, 40)}


def make_colours(folder: Path, *, each: int, seed: int = 0, told_apart: bool = True) -> Path:
    """PNGs of several sizes with noise, `each` of a class; unless told apart, of colours that have
    nothing to do with the class."""
    rng = np.random.default_rng(seed)
    colours = [name for name in COLOURS for _ in range(each)]
    for i, name in enumerate(colours):
        of = COLOURS[name if told_apart else colours[rng.integers(len(colours))]]
        size = (20 + i % 5, 28 - i % 7)
        pixels = np.clip(of + rng.normal(0, 25, (*size, 3)), 0, 255).astype(np.uint8)
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


class MeanColour(NamedTuple):
    """As a Backbone, as far as evaluation looks; compiled in no time."""

    params: dict = {"scale": np.float32(2)}
    mean: Sequence[float] = (0.4, 0.5, 0.6)
    std: Sequence[float] = (0.2, 0.3, 0.4)
    options: Options = ViTOptions(width=3, depth=3, heads=1)

    taking = Backbone.taking

    def features(
        self, images: jax.Array, *, attention_of: Sequence[int] = (), layers_of: Sequence[int] = ()
    ) -> Features:
        """Layer i has i times the mean colour, the last one that colour; patches are pixels."""
        pixels = self.params["scale"] * images.reshape(len(images), -1, 3)
        last = Tokens(pixels[:, :2], pixels, pixels.mean(1))
        layers = {}
        for i in layers_of:
            tokens = Tokens(*((i + 1) / self.options.depth * x for x in last))
            layers[i] = Layer(raw=jax.tree.map(lambda x: 0 * x, tokens), normed=tokens)
        return Features(*last, {}, layers)
