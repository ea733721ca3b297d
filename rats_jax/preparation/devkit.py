"""ImageNet's development kit: the classes of the validation images, which have no folders."""

import io
import re
import tarfile
from pathlib import Path

from scipy.io import loadmat

from rats_jax.errors import UserError

NAME = "ILSVRC2012_devkit_t12.tar.gz"
FOLDER = "ILSVRC2012_devkit_t12/data/"
IMAGE = "ILSVRC2012_val_{:08d}"  # .JPEG; counted from 1, in the order of the ground truth


def is_validation(name: str) -> bool:
    """Whether a file has a name like the validation images, and is not in a folder."""
    return re.fullmatch(r"ILSVRC2012_val_\d{8}\.\w+", name) is not None


def read(path: Path) -> tuple[list[str], dict[str, str]]:
    """The classes, sorted like the folders of the training images, and the class of every
    validation image by file name without extension.

    Raises:
      UserError: the file is not a complete development kit.
    """
    try:
        with tarfile.open(path) as tar:
            truth = _member(tar, "ILSVRC2012_validation_ground_truth.txt")
            meta = _member(tar, "meta.mat")
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        # Other synsets are the inner nodes of WordNet's tree.
        wnids = {
            int(synset["ILSVRC2012_ID"]): str(synset["WNID"])
            for synset in synsets
            if synset["num_children"] == 0
        }
        of_image = {
            IMAGE.format(number): wnids[int(line)]
            for number, line in enumerate(truth.split(), start=1)
        }
    except Exception as error:  # SciPy raises many types for damaged data
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}); download it again, or move "
            "it away to give the images the label -1"
        ) from error
    return sorted(wnids.values()), of_image


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(FOLDER + name)
    if file is None:
        raise KeyError(f"{FOLDER}{name} is not a file")
    return file.read()
