"""rats visualize --checkpoint=RUN_OR_WEIGHTS --images=FILES_OR_FOLDER --output=DIR

Pictures of the parts that a model sees in images: regions, the map of each register or head,
attention, principal components, and HTML pages in which any number of regions can be tried.
With --dictionary, the parts are named, and a page for each entry shows its best images.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags

from rats_jax import command_line
from rats_jax.model_flags import (
    define_resolution,
    define_top_k,
    given_resolutions,
    given_top_k,
    only,
)
from rats_jax.voice import say

if TYPE_CHECKING:
    from rats_jax.models.options import Options
    from rats_jax.parts.dictionary.saved import Dictionary

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "An image, a folder of images, a pattern in quotes ('photos/*.jpg'), a .txt file with one "
    "name per line, or several of these separated by commas.",
)
DICTIONARY = flags.DEFINE_string(
    "dictionary", "", "A dictionary of the model's parts: the --output of rats dictionary."
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to create.")
TOP_K = define_top_k("8, or fewer if the model has fewer registers; for a ViT one for each head.")
RESOLUTION = define_resolution("the longer side")
LIMIT = flags.DEFINE_integer(
    "limit",
    None,
    "Draw at most this many images, evenly spaced over all of --images.",
    lower_bound=1,
)
SKIP_BROKEN = flags.DEFINE_bool("skip_broken", False, "Leave out images that cannot be read.")


def main() -> None:
    from rats_jax.backbones import open_backbone
    from rats_jax.gallery.finding import find_images, folders_of, spread
    from rats_jax.gallery.gallery import draw
    from rats_jax.paths import local_path, printable
    from rats_jax.results_folder import check_outside, free_folder, new_folder

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (IMAGES, "image files, or a folder of them"),
        (OUTPUT, "the folder to create"),
    )
    output = local_path(OUTPUT.value)
    target = free_folder(output)
    images = find_images(IMAGES.value)
    check_outside(target, folders_of(IMAGES.value))
    if LIMIT.value and LIMIT.value < len(images):
        say(f"{LIMIT.value:,} of {len(images):,} images, evenly spaced (--limit)")
        images = [images[i] for i in spread(len(images), LIMIT.value)]
    backbone = open_backbone(CHECKPOINT.value, weights=WEIGHTS.value)
    say(backbone.origin)
    dictionary = _dictionary(backbone.options)
    top_k = _top_k(backbone.options)
    sides = given_resolutions(RESOLUTION.value, backbone.options)
    resolution = only(sides, flag="resolution", of="rats visualize")
    if dictionary:
        dictionary.warn_of_another(backbone.origin, resolution)
    trained = backbone.options.trained_size
    say(
        f"the model sees images at {resolution} pixels (the longer side, --resolution)"
        + (f"; it was trained at {trained}" if trained else "")
    )
    with new_folder(target) as folder:
        drawn = draw(
            backbone,
            images,
            folder,
            top_k=top_k,
            resolution=resolution,
            skip_broken=SKIP_BROKEN.value,
            dictionary=dictionary,
        )
    files = sorted(os.listdir(output))
    if drawn.left_out:
        say(f"left out: {len(drawn.left_out):,} of {len(images):,} images, see left_out.txt")
    say(f"results: {printable(str(output))} ({', '.join(files)})")
    if "index.html" in files:
        page = output / "index.html"
        megabytes = page.stat().st_size / 1e6
        say(f"open {printable(str(page))} in a browser ({megabytes:.1f} MB)")
    if drawn.ended:
        say(f"ended early: {drawn.images:,} of {len(images):,} images are drawn and kept")
        raise drawn.ended


def _dictionary(options: Options) -> Dictionary | None:
    """The dictionary of --dictionary; None without one. options: of the backbone. Raises
    UserError."""
    from rats_jax.parts.dictionary.saved import load
    from rats_jax.paths import local_path

    if not DICTIONARY.value:
        return None
    dictionary = load(local_path(DICTIONARY.value))
    dictionary.check_fits(options)
    named = len({name for i in range(len(dictionary.entries)) if (name := dictionary.name(i))})
    of = f", named after {named:,} parts" if named else ", without names"
    say(f"dictionary: {len(dictionary.entries):,} entries{of}")
    return dictionary


def _top_k(options: Options) -> int:
    """K, from --top_k. options: of the backbone. Raises UserError."""
    from rats_jax.parts.region_counts import number_of_maps

    values = given_top_k(TOP_K.value)
    given = None if values is None else only(values, flag="top_k", of="rats visualize")
    return number_of_maps(given, options, named=f"--top_k={','.join(TOP_K.value or ())}")


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller --resolution")
