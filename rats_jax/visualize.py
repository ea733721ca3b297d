"""python -m rats_jax.visualize --checkpoint=RUN_OR_WEIGHTS --images=FILES_OR_FOLDER --output=DIR

Pictures of the parts that a model sees in images: regions, the map of each register or head,
attention, principal components, and one HTML page in which to try any number of regions.
"""

import os
from pathlib import Path

from absl import flags

from rats_jax import command_line
from rats_jax.command_line import say

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
IMAGES = flags.DEFINE_string("images", "", "An image, a folder of them, or several with commas.")
OUTPUT = flags.DEFINE_string("output", "", "The folder to make.")
TOP_K = flags.DEFINE_integer(
    "top_k", None, "Regions: of the best registers. 8 by default; of a ViT, one a head."
)
RESOLUTION = flags.DEFINE_integer(
    "resolution", 512, "Pixels of each image's longer side, as the model sees it.", lower_bound=1
)


def main() -> None:
    from rats_jax.backbones import open_backbone
    from rats_jax.pictures.gallery import draw
    from rats_jax.pictures.images import find_images
    from rats_jax.results_folder import free_folder, new_folder

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (IMAGES, "image files, or a folder of them"),
        (OUTPUT, "the folder to make"),
    )
    output = Path(OUTPUT.value).expanduser()
    target = free_folder(output)
    images = find_images(IMAGES.value)
    backbone = open_backbone(CHECKPOINT.value, weights=WEIGHTS.value)
    say(backbone.origin)
    with new_folder(target) as folder:
        draw(backbone, images, folder, top_k=TOP_K.value, resolution=RESOLUTION.value)
    page = output / "index.html"
    megabytes = page.stat().st_size / 1e6
    say(f"results: {output} ({', '.join(sorted(os.listdir(output)))})")
    say(f"open {page} in a browser ({megabytes:.1f} MB)")


if __name__ == "__main__":
    command_line.run(main)
