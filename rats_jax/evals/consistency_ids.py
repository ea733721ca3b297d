"""Ids of patches that mean the same in every image, for --task=consistency: of registers, of the
nearest entries of K-means, and of the nulls."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from scipy.cluster.vq import kmeans2, vq

from rats_jax.backbones import Backbone
from rats_jax.errors import UserError
from rats_jax.evals.patch_features import check_finite
from rats_jax.models import Features
from rats_jax.parts.colour import mean_lab
from rats_jax.parts.null_regions import grid_regions
from rats_jax.parts.regions import unit

SAMPLED = 50_000  # largest number of vectors that entries are fitted on
COLOURS, CELLS = "colour entries", "grid cells"  # rows that use no model
ITERATIONS = 50  # iterations of Lloyd's algorithm, after k-means++


class Vectors(NamedTuple):
    """Float32 unit vectors of n images.

    registers: [n, N, D], N = 0 for none. patches: [n, L, D]. images: the global vectors,
    [n, 1, D]."""

    registers: np.ndarray
    patches: np.ndarray
    images: np.ndarray


def looking(name: str, model: Backbone) -> Callable[[np.ndarray], Vectors]:
    """uint8 [B, side, side, 3] -> Vectors. Registers of a ViT are left out: they are no regions.
    The function raises UserError if vectors are not finite."""
    has_cls = model.options.has_cls

    def vectors(features: Features) -> tuple[jax.Array, jax.Array, jax.Array]:
        registers = features.registers[:, :0] if has_cls else features.registers
        return unit(registers), unit(features.patches), unit(features.global_vector[:, None])

    run = jax.jit(model.taking(vectors))

    def look(images: np.ndarray) -> Vectors:
        found = Vectors(*map(np.asarray, run(model.params, images)))
        for of in found:
            check_finite(of, name)
        return found

    return look


def fit_entries(
    batches: Iterable[tuple[int, np.ndarray]],
    look: Mapping,
    *,
    patch: int,
    entries: int,
    share: int,
    seed: int,
) -> dict:
    """Entries [E, D] by (model, "registers", "patches" or "images"), and by ("", "colours").

    With many images, only a sample of the vectors of each batch is kept, so that memory does not
    grow with their number. The sample is the same for all models, and the entries of a model do not
    depend on the other models.

    batches: of how many images, and these, uint8 [B, side, side, 3]. share: the largest number of
    vectors that are kept of each batch.
    """
    met: dict = {}

    def keep(key, vectors: np.ndarray) -> None:
        flat = vectors.reshape(-1, vectors.shape[-1])
        kept = met.setdefault(key, [])
        if len(flat) > share:
            rng = np.random.default_rng([seed, len(kept)])
            flat = flat[rng.permutation(len(flat))[:share]]
        kept.append(flat)

    for count, images in batches:
        keep(("", "colours"), _flat(mean_lab(images[:count], patch)))
        for name, of in look.items():
            for kind, vectors in of(images)._asdict().items():
                if vectors.shape[1]:
                    keep((name, kind), vectors[:count])
    if not met:
        raise UserError("no image could be read")
    fitted = {}
    for key, vectors in met.items():
        vectors = np.concatenate(vectors).astype(np.float64)
        if key[1] == "images":  # there may be fewer images than entries
            fitted[key] = _clustered(vectors, min(entries, len(vectors)), seed)
            continue
        if len(vectors) < entries:
            raise UserError(
                f"--entries={entries}: half of the images have only {len(vectors)} vectors of "
                f"{key[1]}; choose a smaller number"
            )
        fitted[key] = _clustered(vectors, entries, seed)
    return fitted


def _clustered(vectors: np.ndarray, entries: int, seed: int) -> np.ndarray:
    """K-means of at most SAMPLED vectors, [entries, D]."""
    chosen = np.random.default_rng(seed).permutation(len(vectors))[:SAMPLED]
    options = {"iter": ITERATIONS, "minit": "++", "missing": "warn", "rng": seed}
    centers, _ = kmeans2(vectors[chosen], entries, **options)
    return centers


def ids_of(look: Mapping, fitted: Mapping, images: np.ndarray, *, patch: int, entries: int) -> dict:
    """int [BATCH, h, w] by row."""
    side = images.shape[1] // patch
    grid = (len(images), side, side)
    rows = {}
    for name, of in look.items():
        registers, patches, own = of(images)
        of_image = nearest(own, fitted[name, "images"])[:, :, None]
        rows[f"{name}: image entries"] = np.broadcast_to(of_image, grid)
        of_patch = nearest(patches, fitted[name, "patches"])
        rows[f"{name}: patch entries"] = of_patch.reshape(grid)
        if registers.shape[1]:
            index = np.einsum("bld,bnd->bln", patches, registers).argmax(-1)
            entry = np.take_along_axis(nearest(registers, fitted[name, "registers"]), index, 1)
            rows[f"{name}: register index"] = index.reshape(grid)
            rows[f"{name}: register entries"] = entry.reshape(grid)
    colours = _flat(mean_lab(images, patch))
    rows[COLOURS] = nearest(colours, fitted["", "colours"]).reshape(grid)
    cells = grid_regions(size=(side, side), k=min(entries, side * side))
    rows[CELLS] = np.broadcast_to(cells, grid)
    return rows


def nearest(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """[n, L, D] -> [n, L]"""
    found, _ = vq(vectors.reshape(-1, vectors.shape[-1]).astype(np.float64), centers)
    return found.reshape(vectors.shape[:2])


def _flat(grid: np.ndarray) -> np.ndarray:
    """[n, h, w, D] -> [n, h w, D]"""
    return grid.reshape(len(grid), -1, grid.shape[-1])
