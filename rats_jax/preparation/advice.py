"""The command to run on new shards. It can be pasted in any folder."""

import shlex
import sys
from pathlib import Path

from rats_jax.data.records import Records

IMAGENET = 1_281_167  # number of images, in 1,000 classes


def advice(folders: list[Path]) -> list[str]:
    """Lines for the user: how to train on the train shards, or to score on the val shards."""
    by_split = {folder.name: folder.absolute() for folder in folders}
    if "train" in by_split:
        return [f"train on them: {_train(by_split['train'])}"]
    flags = ["--task=knn", "--checkpoint=RUN", "--output=DIR", "--train=records:TRAIN"]
    flags.append(f"--dataset=records:{by_split['val']}")
    return [
        "these images are for scoring a model, together with its training images: "
        + _command("rats_jax.evaluate", flags)
    ]


def _train(folder: Path) -> str:
    shards = Records(folder)
    images = len(shards)
    changes: dict[str, object] = {}
    if is_imagenet(images, len(shards.classes)):
        recipe = "rats_s16_in1k"
        if images != IMAGENET:
            changes["data.length"] = 0
    else:
        recipe = "image_folder"  # its batch is chosen by the number of images
    changes |= {"data.source": "records", "data.path": folder}
    flags = [f"--config={recipe}", f"--workdir=runs/{folder.parent.name}"]
    flags += [f"--config.{name}={value}" for name, value in changes.items()]
    return _command("rats_jax.train", flags)


def _command(module: str, flags: list[str]) -> str:
    """The command with this interpreter: elsewhere, `python` may be one without rats_jax."""
    return shlex.join([sys.executable, "-m", module, *flags])


def is_imagenet(images: int, classes: int) -> bool:
    """Whether the size is that of ImageNet-1k, up to a hundredth of the images."""
    return classes == 1000 and abs(images - IMAGENET) <= IMAGENET // 100
