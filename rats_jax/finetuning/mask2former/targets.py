"""From the arrays of a batch to what Mask2Former takes: images, and the masks of each image."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rats_jax.segmentation.interface import VOID

FIELDS = ("image", "labels", "masks", "categories")


class Target(NamedTuple):
    """The truth of an image. masks: bool [M, S, S]. classes: int64 [M]."""

    masks: Tensor
    classes: Tensor


class Part(NamedTuple):
    """Images that pass through the model together. images: float32 [B, 3, S, S] in 0..255."""

    images: Tensor
    targets: list[Target]


def parts_of(batch: Mapping[str, np.ndarray], count: int, device: torch.device) -> list[Part]:
    """The rows of a batch in `count` parts of one size, on the device; the buffers of the batch are
    free afterwards. batch: of `data.pipeline`, with the fields of `segmentation.samples`."""
    fields = {name: batch[name] for name in FIELDS if name in batch}
    split = {name: np.split(rows, count) for name, rows in fields.items()}
    return [_part({n: rows[i] for n, rows in split.items()}, device) for i in range(count)]


def _part(batch: Mapping[str, np.ndarray], device: torch.device) -> Part:
    images = torch.tensor(batch["image"]).to(device).permute(0, 3, 1, 2).float()
    if "labels" in batch:
        targets = [_of_labels(labels, device) for labels in batch["labels"]]
    else:
        pairs = zip(batch["masks"], batch["categories"], strict=True)
        targets = [_of_instances(*pair, device) for pair in pairs]
    return Part(images, targets)


def _of_labels(labels: np.ndarray, device: torch.device) -> Target:
    """A mask for each class in int16 [S, S]. Pixels that are VOID are in no mask."""
    classes = np.flatnonzero(np.bincount(labels[labels != VOID]))
    chosen = torch.tensor(classes, dtype=torch.int64).to(device)
    return Target(torch.tensor(labels).to(device) == chosen[:, None, None], chosen)


def _of_instances(packed: np.ndarray, categories: np.ndarray, device: torch.device) -> Target:
    """packed: uint8 [M, S, ceil(S / 8)]. categories: int16 [M], -1 for none."""
    given = categories >= 0
    size = packed.shape[1]
    bits = torch.tensor(packed[given]).to(device)
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
    masks = (bits[..., None] >> places & 1).bool().flatten(2)[..., :size]
    return Target(masks, torch.tensor(categories[given].astype(np.int64)).to(device))
