"""Ids of patches by a dictionary of parts, for --task=consistency."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.evals.consistency_ids import nearest
from rats_jax.evals.differences import TRAINED
from rats_jax.models import Features
from rats_jax.models.features import Tokens
from rats_jax.parts.dictionary.detectors import detect, layers_needed
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.parts.regions import EXACT, unit

ENTRIES, NAMES = "dictionary entries", "dictionary names"


def dictionary_looking(
    model: Backbone, dictionary: Dictionary, *, side: int
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The function from uint8 images [B, side, side, 3] to ids of patches, int [B, h, w], by row:

    - "model: dictionary entries": the nearest entry of the patch's register. That is the register
      with the largest cosine with the patch, as for register index. For a ViT it is the plain
      register that attends most to the patch, and without registers the patch's cluster.
    - "model: dictionary names": the part that this entry is named after; -1 without a name.
    """
    options = model.options
    grid = (side // options.patch,) * 2

    def look(features: Features) -> tuple[jax.Array, jax.Array]:
        norm = dictionary.norm
        found = detect(features, options, grid=grid, norm=norm, regions=dictionary.regions)
        if options.has_cls or not options.registers:
            return found.vectors, found.maps.argmax(1)
        tokens: Features | Tokens = features
        if norm == "pre":
            ((_, layer),) = features.layers.items()
            tokens = layer.raw
        pair = unit(tokens.patches), unit(found.vectors)
        return found.vectors, jnp.einsum("bld,bnd->bln", *pair, precision=EXACT).argmax(-1)

    run = jax.jit(model.taking(look, **layers_needed(options, norm=dictionary.norm)))
    centers = dictionary.entries.astype(np.float64)

    def ids(images: np.ndarray) -> dict[str, np.ndarray]:
        vectors, which = map(np.asarray, run(model.params, images))
        if dictionary.unit:
            vectors = np.asarray(unit(vectors))
        entry = np.take_along_axis(nearest(vectors, centers), which, 1)
        entry = entry.reshape(len(images), *grid)
        return {f"{TRAINED}{ENTRIES}": entry, f"{TRAINED}{NAMES}": dictionary.labels[entry]}

    return ids
