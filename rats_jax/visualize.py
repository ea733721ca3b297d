"""rats visualize --checkpoint=RUN_OR_WEIGHTS --images=FILES_OR_FOLDER --output=DIR

Pictures of the parts that a model sees in images: regions, the map of each register or head,
attention, principal components, and HTML pages in which any number of regions can be tried.
"""

import os

from absl import flags

from rats_jax import command_line
from rats_jax.resolution import LARGEST
from rats_jax.voice import say

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
IMAGES = flags.DEFINE_multi_string(
    "images",
    [],
    "An image, a folder of images, a pattern in quotes ('photos/*.jpg'), a .txt file with one "
    "name per line, or several of these separated by commas.",
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to create.")
TOP_K = flags.DEFINE_integer(
    "top_k",
    None,
    "The number of regions, each from one of the best registers; 8 by default. A ViT has one "
    "region for each head.",
)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    None,
    "Pixels of the longer side at which the model sees each image. 512 by default; closer to the "
    "training resolution for a model that was trained at a very different one.",
    lower_bound=1,
    upper_bound=LARGEST,
)
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
    from rats_jax.resolution import default_resolution, distance_warning
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
    resolution = RESOLUTION.value or default_resolution(backbone.options)
    trained = backbone.options.trained_size
    say(
        f"the model sees images at {resolution} pixels (the longer side, --resolution)"
        + (f"; it was trained at {trained}" if trained else "")
    )
    if warning := distance_warning(resolution, backbone.options):
        say(warning)
    with new_folder(target) as folder:
        drawn = draw(
            backbone,
            images,
            folder,
            top_k=TOP_K.value,
            resolution=resolution,
            skip_broken=SKIP_BROKEN.value,
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


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller --resolution")
