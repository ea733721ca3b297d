"""The maps that show a model's parts, one for each register or head, and their regions.

Shape letters as in rats_jax.parts.regions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from rats_jax.models import Features, Options
from rats_jax.parts.regions import attention_regions, register_maps, register_regions
from rats_jax.pictures.sheets import ATTENTION, COSINE, Scale

SMOOTHING = 1.0  # patches, the default of the evaluation


class MapSet(NamedTuple):
    """Maps of one kind for one image, in order of rank: the largest maximum first.

    title: what they are. unit: what each map belongs to, in the plural, such as "heads".
    scale: what their numbers mean, and which of them are dark and bright.
    maps: float32 [M, L]. kept: int [M], the register or head that each map belongs to.
    labels, names: short and long names of all M, by register or head (names[kept[0]] ranks first).
    regions: K -> int32 [h, w], the regions of the K best maps, as in the evaluation.
    """

    title: str
    unit: str
    scale: Scale
    maps: np.ndarray
    kept: np.ndarray
    labels: list[str]
    names: list[str]
    regions: Callable[[int], np.ndarray]

    def lead(self, k: int, grid: tuple[int, int]) -> float | None:
        """The difference between the strongest and the second strongest of the K best maps, which
        are smoothed as for the regions; the median over patches. None for a single map."""
        if k < 2:
            return None
        maps = self.maps[:k].reshape(k, *grid)
        smooth = gaussian_filter(maps, (0, SMOOTHING, SMOOTHING), mode="reflect", truncate=4)
        second, first = np.partition(smooth, (k - 2, k - 1), axis=0)[-2:]
        return float(np.median(first - second))


def map_sets(features: Features, options: Options, *, grid: tuple[int, int]) -> list[MapSet]:
    """The maps of the features of one image (B = 1), which hold the attention of one layer.

    RATS: the cosine of each register with each patch. Perceiver: the same for its output queries.
    ViT: [CLS] attention, a map for each head; then the attention of each plain register, the mean
    over heads. Attention is divided by its mean over the patches, so uniform attention is 1.

    options: of the backbone.
    """
    if not options.has_cls:
        return [_cosines(features, options, grid)]
    (weights,) = features.attention.values()
    attention = np.asarray(weights)  # [1, H, 1 + N, L]
    heads = [f"head {i + 1}" for i in range(attention.shape[1])]
    sets = [_attention("[CLS] attention, one map per head", attention[0, :, 0], heads, grid)]
    if attention.shape[2] > 1:
        registers = [f"register {i + 1}" for i in range(attention.shape[2] - 1)]
        title = "attention of plain registers, the mean over heads"
        sets.append(_attention(title, attention[0, :, 1:].mean(0), registers, grid))
    return sets


def attention_rows(
    features: Features, options: Options
) -> list[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Rows of (title, [(label, map [L]), ...]) from the features of one image, with the attention
    of one layer. RATS and the Perceiver have a row for each head; a ViT has a row for each token,
    [CLS] first. Each map is divided by its mean over the patches."""
    (weights,) = features.attention.values()
    of_image = np.asarray(weights[0])  # [H, n, L]
    to_patches, attention = of_image.sum(-1), _times_uniform(of_image)
    heads = [f"head {i + 1}" for i in range(len(attention))]
    if options.has_cls:
        tokens = ["[CLS]", *(f"register {i}" for i in range(1, attention.shape[1]))]
        return [
            (
                f"{token}; {to_patches[:, i].mean():.0%} of its attention is on patches",
                list(zip(heads, attention[:, i], strict=True)),
            )
            for i, token in enumerate(tokens)
        ]
    return [
        (f"{head}, {options.reader}:", [(f"{i + 1}", one) for i, one in enumerate(maps)])
        for head, maps in zip(heads, attention, strict=True)
    ]


def _cosines(features: Features, options: Options, grid: tuple[int, int]) -> MapSet:
    count = features.registers.shape[1]
    tokens = {"registers": features.registers, "patches": features.patches}
    maps, kept = register_maps(**tokens, top_k=count)
    if options.owning_heads:
        each = count // options.owning_heads
        pairs = [(i // each + 1, i % each + 1) for i in range(count)]
        labels = [f"{head}.{register}" for head, register in pairs]
        names = [f"head {head}, register {register}" for head, register in pairs]
    else:
        labels = [f"{i + 1}" for i in range(count)]
        names = [f"{options.unit} {label}" for label in labels]

    def regions(k: int) -> np.ndarray:
        return np.asarray(register_regions(**tokens, grid=grid, top_k=k, sigma=SMOOTHING)[0])

    return MapSet(
        f"{options.units}: cosine with each patch",
        options.units,
        COSINE,
        np.asarray(maps[0]),
        np.asarray(kept[0]),
        labels,
        names,
        regions,
    )


def _attention(
    title: str, attention: np.ndarray, names: list[str], grid: tuple[int, int]
) -> MapSet:
    attention = np.asarray(attention, np.float32)
    maps = _times_uniform(attention)
    kept = np.argsort(-maps.max(-1), kind="stable")

    def regions(k: int) -> np.ndarray:
        best = attention[None, kept[:k]]
        return np.asarray(attention_regions(attention=best, grid=grid, sigma=SMOOTHING)[0])

    unit = f"{names[0].partition(' ')[0]}s"
    labels = [name.rpartition(" ")[2] for name in names]
    return MapSet(title, unit, ATTENTION, maps[kept], kept, labels, names, regions)


def _times_uniform(attention: np.ndarray) -> np.ndarray:
    """Maps [..., L], each divided by its mean."""
    mean = attention.mean(-1, keepdims=True)
    return attention / np.maximum(mean, np.finfo(np.float32).tiny)
