"""python -m rats_jax.prepare --input=IMAGENET_FOLDER_OR_TAR --output=DIR [--workers=N]"""

import os
import signal
import sys
from pathlib import Path

from absl import flags

from rats_jax import command_line
from rats_jax.data.preparation.run import prepare
from rats_jax.errors import UserError

INPUT = flags.DEFINE_string(
    "input",
    "",
    "ImageNet's folder (the two tars, or train/ and val/), any folder of images, or a .tar file.",
)
OUTPUT = flags.DEFINE_string("output", "", "Folder in which train/ and val/ are made.")
WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes.", lower_bound=1)
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
    if not INPUT.value:
        raise UserError("no --input: name a folder of images or a .tar file")
    if not OUTPUT.value:
        raise UserError("no --output: name the folder in which the shards are made")
    output = Path(OUTPUT.value)
    try:
        splits = prepare(
            Path(INPUT.value),
            output,
            workers=WORKERS.value,
            shard_mb=SHARD_MB.value,
            shorter_side=SHORTER_SIDE.value,
        )
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the shards left", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    command_line.say(f"results: {', '.join(map(str, splits))}")
    if output / "train" in splits:
        command_line.say(
            "train on them: python -m rats_jax.train --config=configs/rats_s16_in1k.py "
            f"--workdir=DIR --config.data.source=records --config.data.path={output / 'train'}"
        )


if __name__ == "__main__":
    command_line.run(main)
