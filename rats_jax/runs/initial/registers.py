"""Where registers start that the weights of a run's start do not have."""

from collections.abc import Iterator, Mapping

import jax
import numpy as np
from ml_collections import ConfigDict
from scipy.cluster.vq import kmeans2

from rats_jax.classification.views import central_crop
from rats_jax.data.counted import counted
from rats_jax.data.decode import UnreadableImage, decode
from rats_jax.data.sources import Source
from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree

#: Standard deviation of registers around [CLS], as a share of its RMS. It keeps the ViT's k-NN
#: accuracy at the start: docs/start_from_weights.md has figures.
SPREAD = 0.2
MOST_TOKENS = 20_000  # patch tokens that are clustered
ITERATIONS = 30  # of Lloyd's algorithm, after k-means++


def new_registers(
    config: ConfigDict,
    shape: tuple[int, ...],
    arrays: Mapping[str, np.ndarray],
    cls: np.ndarray | None,
    source: Source,
) -> tuple[np.ndarray | None, str]:
    """New registers of this shape as `config.init.registers` says, and how they start, in words.
    None for the random start of a run without weights.

    arrays: what is taken of the backbone, by path. cls: [CLS] with its position. source: the
    training images. All processes get the same.

    Raises UserError for too few images.
    """
    how = config.init.registers
    if how == "random":
        return None, "random"
    if how == "cls" and cls is None:
        return None, "random, since the weights have no [CLS]"
    if how == "cls":
        spread = SPREAD * np.sqrt(np.mean(np.square(cls)))
        draws = np.random.default_rng(config.seed).standard_normal(shape, np.float32)
        return cls + np.float32(spread) * draws, f"[CLS] with its position, spread by {spread:.2g}"
    count = int(np.prod(shape[:-1]))
    found = _centers(config, count, arrays, source) if jax.process_index() == 0 else None
    found = np.asarray(agree(None if found is None else found.tolist()), np.float32)
    images = min(config.init.images, len(source))
    return found.reshape(shape), f"k-means of the patch tokens of {images:,} training images"


def _centers(
    config: ConfigDict, count: int, arrays: Mapping[str, np.ndarray], source: Source
) -> np.ndarray:
    """The centers in random order, [count, D]."""
    tokens = np.concatenate(list(_tokens(config, arrays, source)) or [np.zeros((0, 1))])
    rng = np.random.default_rng(config.seed)
    tokens = tokens[rng.permutation(len(tokens))[:MOST_TOKENS]]
    if len(np.unique(tokens, axis=0)) < count:
        images = min(config.init.images, len(source))
        more = "raise config.init.images, or " if images < len(source) else ""
        raise UserError(
            f"config.init.registers=kmeans needs {count} different patches, and "
            f"{counted(images, 'training image')} {'has' if images == 1 else 'have'} fewer: "
            f"{more}choose config.init.registers=random"
        )
    options = {"iter": ITERATIONS, "minit": "++", "missing": "warn", "rng": config.seed}
    centers, _ = kmeans2(tokens.astype(np.float64), count, **options)
    return rng.permutation(centers)


def _tokens(
    config: ConfigDict, arrays: Mapping[str, np.ndarray], source: Source
) -> Iterator[np.ndarray]:
    """The patch tokens [L, D] that enter the first block, image by image."""
    side, patch = config.crops.global_size, config.model.patch
    kernel = arrays["patch_embed/kernel"].reshape(3 * patch**2, -1)
    table = arrays.get("pos_embed")
    positions = 0 if table is None else table[-((side // patch) ** 2) :]
    mean, std = (np.asarray(x, np.float32) for x in (IMAGENET_MEAN, IMAGENET_STD))
    images = min(config.init.images, len(source))
    for i in range(images):
        try:
            pixels = central_crop(decode(source[i * len(source) // images][0]), side)
        except (OSError, UnreadableImage):
            continue  # training replaces and counts such images
        pixels = (pixels / np.float32(255) - mean) / std
        grid = side // patch
        patches = pixels.reshape(grid, patch, grid, patch, 3).swapaxes(1, 2)
        yield patches.reshape(grid**2, -1) @ kernel + arrays["patch_embed/bias"] + positions
