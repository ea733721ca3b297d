"""The package from Python: `import rats_jax`, and `help(rats_jax)` lists these functions."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from rats_jax import config_flag
from rats_jax.backbones import Backbone
from rats_jax.config_kinds import FINETUNE, TRAIN, wrong_command
from rats_jax.data.decode import UnreadableImage, decode
from rats_jax.data.reading import padded
from rats_jax.errors import UserError
from rats_jax.evals.part_evaluation import evaluate_parts
from rats_jax.evals.part_scores import Result, summarised
from rats_jax.models import Features
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.dictionary.detectors import layers_needed
from rats_jax.parts.dictionary.part_maps import assign, named_maps
from rats_jax.parts.dictionary.saved import Dictionary
from rats_jax.parts.dictionary.saved import load as load_dictionary
from rats_jax.parts.regions import resize_labels
from rats_jax.parts.ways import RegionOptions, region_maps
from rats_jax.paths import local_path, printable
from rats_jax.resolution import default_resolution

BATCH = 16  # images that the device computes together

AnImage = str | os.PathLike | np.ndarray | Image.Image


def compute_features(
    backbone: Backbone, images: AnImage | Iterable[AnImage], *, resolution: int | None = None
) -> Features:
    """Computes the features of images, as NumPy arrays. Each image is resized to a square.

    Args:
      backbone: from `open_backbone`.
      images: one or n files, Pillow images, or uint8 arrays [height, width, 3], of any sizes.
      resolution: pixels of both sides, a multiple of the backbone's patch; by default the
        resolution that the backbone was trained at, or 224 if that is not known.

    Returns:
      Features: registers [n, N, D], patches [n, L, D] row by row, global_vector [n, D], float32;
      attention and layers are empty (`Backbone.looking` can compute them).

    Raises:
      UserError: an image cannot be read, no image is given, or the resolution is not a multiple of
        the patch.
    """
    resolution = _resolution(backbone, resolution, usual=backbone.options.trained_size or 224)
    images = _listed(images)
    if not images:
        raise UserError("no images: give at least one")
    look, found = backbone.looking(), []
    for start in range(0, len(images), BATCH):
        chosen = images[start : start + BATCH]
        batch = [_resized(_pixels(x), (resolution, resolution)) for x in chosen]
        features = look(padded(batch, min(BATCH, len(images))))  # one program for all batches
        found.append(jax.tree.map(np.asarray, features))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(images)], *found)


def find_regions(
    backbone: Backbone,
    image: AnImage,
    k: int = 8,
    *,
    resolution: int | None = None,
    options: RegionOptions | None = None,
) -> dict[str, np.ndarray]:
    """The regions of one image, by every method that the backbone allows.

    Args:
      backbone: from `open_backbone`.
      image: a file, a Pillow image, or a uint8 array [height, width, 3].
      k: number of regions. A method that cannot make k regions is left out: "registers" needs at
        least k registers. For a ViT, every method except "k-means" needs k to be its number of
        heads, or of plain registers.
      resolution: pixels of both sides at which the backbone sees the image; by default 512, or
        closer to the resolution that the backbone was trained at (`rats_jax.resolution`).
      options: how tokens become regions, see `rats_jax.parts.ways.RegionOptions`.

    Returns:
      A dict from the name of the method ("registers", "centered registers", "[CLS] attention",
      "register attention", "k-means"; see `rats_jax.parts.ways.region_maps`) to its int32 label
      map [height, width], of the image's original size, with labels 0..k-1.

    Raises:
      UserError: as in `compute_features`, or k is larger than the number of patches.
    """
    resolution = _resolution(backbone, resolution, usual=default_resolution(backbone.options))
    model, options = backbone.options, options or RegionOptions()
    side = resolution // model.patch
    if not 1 <= k <= side**2:
        raise UserError(f"k={k}: choose 1 to {side**2}, the number of patches")
    pixels = _pixels(image)
    look = backbone.looking(
        (model.attended_layer,) if model.has_cls else (),
        (model.depth - 1,) if options.norm == "pre" else (),
    )
    features = look(_resized(pixels, (resolution, resolution))[None])
    size = (resolution, resolution) if options.argmax == "pixel" else None
    maps = region_maps(
        features, has_cls=model.has_cls, grid=(side, side), k=k, size=size, options=options
    )
    return {way: resize_labels(labels[0], pixels.shape[:2]) for way, labels in maps.items()}


def name_parts(
    backbone: Backbone,
    image: AnImage,
    dictionary: str | os.PathLike | Dictionary,
    *,
    resolution: int | None = None,
) -> dict[str, np.ndarray]:
    """Where the named parts of a dictionary are in one image, like `rats visualize --dictionary`.

    Args:
      backbone: from `open_backbone`.
      image: as in `find_regions`.
      dictionary: the folder that `rats dictionary` wrote, made with the same model.
      resolution: as in `find_regions`. The image is resized to a square, as by `rats dictionary`;
        `rats visualize` keeps its aspect ratio, so its maps differ.

    Returns:
      A dict from the name of each part that is found to its heat map, float32 [height, width], of
      the image's original size, 0 to 1. Parts with more detectors come first. If no entry has a
      name, the names are "entry 0", "entry 1", ....

    Raises:
      UserError: as in `compute_features`, or the dictionary cannot be read or is of another model.
    """
    found = dictionary if isinstance(dictionary, Dictionary) else load_dictionary(dictionary)
    found.check_fits(backbone.options)
    resolution = _resolution(backbone, resolution, usual=default_resolution(backbone.options))
    side, pixels = resolution // backbone.options.patch, _pixels(image)
    needed = layers_needed(backbone.options, norm=found.norm)
    features = backbone.looking(**needed)(_resized(pixels, (resolution, resolution))[None])
    assigned = assign(features, backbone.options, found, grid=(side, side))
    return {
        part.key: np.asarray(
            Image.fromarray(part.map.reshape(side, side)).resize(
                pixels.shape[1::-1], Image.Resampling.BILINEAR
            )
        )
        for part in named_maps(assigned, found)
    }


def score_parts(
    backbone: Backbone,
    dataset: str,
    *,
    top_k: int | Sequence[int] = (8,),
    resolution: int | None = None,
    limit: int | None = None,
    options: RegionOptions | None = None,
    skip_broken: bool = False,
    background: int | None = None,
) -> list[Result]:
    """How well the regions of a backbone agree with part masks, as `rats evaluate` computes it.

    Args:
      backbone: from `open_backbone`.
      dataset: KIND:PATH of images with part masks, such as "procedural_parts:100" or "folder:DATA".
      top_k: numbers of regions, or one.
      resolution: as in `find_regions`.
      limit: the largest number of images to score, evenly spread; all by default.
      options: how tokens become regions.
      skip_broken: leave out samples that cannot be read.
      background: the id of pixels that belong to no part, for mBO and FG-ARI; by default that of
        the data set, if it has a fixed one.

    Returns:
      A `Result` for each number of regions and each method, including the baselines "grid" and
      "SLIC": result.row (k, resolution, way), result.scores.mean (m2o, o2o, ari, mbo, fg_ari:
      fractions; fg_ari is NaN without a background), result.scores.low and .high (95 % bootstrap
      intervals over images).

    Raises:
      UserError: the data set or one of its samples cannot be read, or the backbone does not allow
        the resolution or a number of regions.
    """
    resolution = _resolution(backbone, resolution, usual=default_resolution(backbone.options))
    top_k = (top_k,) if isinstance(top_k, int) else top_k
    most = backbone.options.patches(resolution)
    if not top_k or not all(1 <= k <= most for k in top_k):
        raise UserError(f"top_k={tuple(top_k)}: choose numbers from 1 to {most}, of patches")
    found = evaluate_parts(
        {"model": backbone},
        open_dataset(dataset).limited(limit).with_background(background),
        top_k=tuple(sorted(set(top_k))),
        resolutions=(resolution,),
        options=options or RegionOptions(),
        saved=(),
        skip_broken=skip_broken,
    )
    return summarised(found.images)


def load_recipe(recipe: str | os.PathLike) -> ConfigDict:
    """Loads the config of a recipe. Its fields can be changed.

    Args:
      recipe: the name of a recipe in the package, such as "demo", or the path of a Python file that
        defines get_config().

    Raises:
      UserError: there is no such recipe, or it cannot be loaded.
    """
    return config_flag.load_recipe(os.path.expanduser(os.fspath(recipe)))


def run_training(config: ConfigDict, workdir: str | os.PathLike, **options: Any) -> Path:
    """Trains by a recipe, or resumes a training from its newest checkpoint; returns the workdir.

    Args:
      config: from `load_recipe`, with any changes to its fields.
      workdir: the folder of the run.
      options: `source` (custom images) and `weights` (to start from), as in
        `rats_jax.runs.loop.train`.

    Raises:
      UserError: the config, data set or workdir cannot be used.
      Stopped: a signal ended the training, and its state is saved. Ctrl-C raises KeyboardInterrupt
        instead before the first step, or when it is pressed a second time.
    """
    from rats_jax.runs.loop import train  # loads the input pipeline

    if problem := wrong_command(config, TRAIN, name="this config"):
        raise UserError(problem)
    return train(config, os.fspath(workdir), **options)


def run_finetuning(config: ConfigDict, workdir: str | os.PathLike) -> None:
    """Fine-tunes a backbone for segmentation, or resumes such a run, as `rats finetune` does.

    Args:
      config: from `load_recipe`, such as "ade20k" or "parts", with `config.model.checkpoint` and
        any other changes to its fields.
      workdir: the folder of the run.

    Raises:
      UserError: the config, weights, data set or workdir cannot be used, or a package is missing.
      Stopped: as in `run_training`.
    """
    from rats_jax.finetuning import start  # loads the input pipeline

    if problem := wrong_command(config, FINETUNE, name="this config"):
        raise UserError(problem)
    start.finetune(config, os.fspath(workdir))


def _resolution(backbone: Backbone, given: int | None, *, usual: int) -> int:
    patch = backbone.options.patch
    if given is None:
        return max(round(usual / patch), 1) * patch
    if given < 1 or given % patch:
        raise UserError(f"resolution={given}: choose a multiple of the patch size, {patch}")
    return given


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))


def _listed(images: AnImage | Iterable[AnImage]) -> list[AnImage]:
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 4 else [*images]
    return [*images]


def _pixels(image: AnImage) -> np.ndarray:
    """uint8 [height, width, 3]."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"an image is {image.dtype} {list(image.shape)}: give uint8 [height, width, 3]"
            )
        return image
    path = local_path(image)
    try:
        return decode(path.read_bytes())
    except (OSError, UnreadableImage) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{printable(str(path))} cannot be read ({reason})") from error
