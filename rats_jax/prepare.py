"""rats prepare --input=IMAGENET_FOLDER_OR_TAR --output=DIR [--workers=N]"""

import os

from absl import flags

from rats_jax import command_line, voice
from rats_jax.paths import local_path
from rats_jax.preparation.advice import advice
from rats_jax.preparation.run import prepare

INTERRUPTED = "interrupted; run the same command again to write the missing shards"

INPUT = flags.DEFINE_string(
    "input",
    "",
    "ImageNet's folder (the two tars, or train/ and val/), any folder of images, or a .tar file.",
)
OUTPUT = flags.DEFINE_string("output", "", "The folder in which train/ and val/ are created.")
WORKERS = flags.DEFINE_integer(
    "workers", os.cpu_count() or 1, "Number of worker processes.", lower_bound=1
)
SHARD_MB = flags.DEFINE_float(
    "shard_mb", 1024, "Size of a shard in MB (2^20 bytes).", lower_bound=2**-20
)
SHORTER_SIDE = flags.DEFINE_integer(
    "shorter_side",
    0,
    "Shorter side, in pixels, to which larger images are resized; 0 leaves every file as it is.",
    lower_bound=0,
)


def main() -> None:
    command_line.require(
        (INPUT, "a folder of images or a .tar file"),
        (OUTPUT, "the folder in which the shards are created"),
    )
    splits = prepare(
        local_path(INPUT.value),
        local_path(OUTPUT.value),
        workers=WORKERS.value,
        shard_mb=SHARD_MB.value,
        shorter_side=SHORTER_SIDE.value,
    )
    voice.say(f"results: {', '.join(map(str, splits))}")
    for line in advice(splits):
        voice.say(line)


if __name__ == "__main__":
    command_line.run(main, out_of_memory="lower --workers", interrupted=INTERRUPTED)
