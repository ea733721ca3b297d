"""What the vectors of images depend on, so that a cache of other weights or images is refused."""

import hashlib
from collections.abc import Mapping

import jax
import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.data.fingerprint import fingerprint, fingerprint_of_names
from rats_jax.dictionaries.images import Images

_SETTINGS = ("resolution", "norm", "regions_per_image", "limit")


def key_of(models: Mapping[str, Backbone], images: Images, about: Mapping) -> dict:
    """The `about` of the stores of a split, as plain values."""
    return {
        **{name: about[name] for name in _SETTINGS},
        "images": {**images.about, "digest": digest_of_images(images)},
        "models": {
            name: f"{model.origin} (digest {digest_of_model(model)})"
            for name, model in models.items()
        },
    }


def digest_of_model(model: Backbone) -> str:
    """16 hexadecimal digits of the weights, the options, and how images are normalised."""
    normalisation = np.array([model.mean, model.std], np.float32).tolist()
    digest = hashlib.sha256(f"{model.options} {normalisation}".encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def digest_of_images(images: Images) -> str:
    """16 hexadecimal digits of the names of all images, and of the sizes and times of the files of
    images and masks, as far as they are files. No image is read."""
    dataset = images.dataset
    source = dataset.source if hasattr(dataset, "source") else dataset
    texts = [str(fingerprint(source)), *map(images.name, range(len(images)))]
    masks = [entry.mask for entry in dataset.entries if entry.mask] if images.masks else []
    for file in [*images.files(), *masks]:
        try:
            found = file.stat()
        except OSError:
            continue  # reported, or left out, when it is read
        texts.append(f"{found.st_size} {found.st_mtime_ns}")
    return fingerprint_of_names(texts)
