"""Part discovery: a model's label maps for images, scored against part masks."""

from collections.abc import Sequence

import jax
import numpy as np

from rats_jax.dino.augment import normalize
from rats_jax.dino.network import Network
from rats_jax.evals.region_metrics import MeanScores, mean_scores, score
from rats_jax.evals.regions import attention_regions, kmeans_regions, register_regions
from rats_jax.models import Features


def extract(network: Network, params: dict, images: np.ndarray, *, batch: int = 50) -> Features:
    """Features of uint8 images [B, h, w, 3], on the host, with the last layer's attention where it
    is to the patches (RATS, ViT)."""
    depth = jax.tree.leaves(params["backbone"]["blocks"])[0].shape[0]
    watch = () if "latents" in params["backbone"] else (depth - 1,)

    @jax.jit
    def features(params: dict, images: jax.Array) -> Features:
        return network.features(params, normalize(images), attention_of=watch)

    parts = [
        jax.device_get(features(params, images[start : start + batch]))
        for start in range(0, len(images), batch)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def region_maps(
    features: Features, *, grid: tuple[int, int], k: int, sigma: float, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """int32 [B, *size] label maps of K regions by each way that these features allow.

    "registers": the K best of N registers. "[CLS] attention": one region a head, for a ViT of K
    heads. "k-means": of the patches.
    """
    maps = {}
    attention = next(iter(features.attention.values()), None)
    of_heads = attention is not None and attention.shape[-2] == 1 + features.registers.shape[1]
    if features.registers.shape[1] >= k and not of_heads:
        maps["registers"] = register_regions(
            registers=features.registers,
            patches=features.patches,
            grid=grid,
            top_k=k,
            sigma=sigma,
            size=size,
        )
    if of_heads and attention.shape[1] == k:
        maps["[CLS] attention"] = attention_regions(
            attention=attention[:, :, 0], grid=grid, sigma=sigma, size=size
        )
    maps["k-means"] = kmeans_regions(features.patches, grid=grid, k=k, size=size)
    return {name: np.asarray(labels) for name, labels in maps.items()}


def score_maps(
    maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], *, void: int | None = None
) -> MeanScores:
    """Mean scores of label maps against masks of the same sizes, over images."""
    return mean_scores([score(m, truth, void=void) for m, truth in zip(maps, masks, strict=True)])


def score_table(rows: Sequence[tuple[int, str, MeanScores]]) -> str:
    """A Markdown table of (K, label maps, scores), in percent with the intervals."""
    lines = ["| K | label maps | M2O | O2O | ARI |", "|---|---|---|---|---|"]
    for k, name, scores in rows:
        cells = " | ".join(
            f"{100 * mean:.1f} ({100 * low:.1f}-{100 * high:.1f})"
            for mean, low, high in zip(scores.mean, scores.low, scores.high, strict=True)
        )
        lines.append(f"| {k} | {name} | {cells} |")
    return "\n".join(lines)
