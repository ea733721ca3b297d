"""From batches to targets."""

import numpy as np
import torch

from rats_jax.finetuning.mask2former.targets import parts_of
from rats_jax.segmentation.interface import VOID

CPU = torch.device("cpu")


def test_labels_become_a_mask_for_each_class():
    rng = np.random.default_rng(0)
    labels = rng.choice(np.int16([VOID, 0, 4, 7]), (4, 8, 8))
    labels[3] = VOID
    images = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    parts = parts_of({"image": images, "labels": labels}, 2, CPU)
    assert [len(part.targets) for part in parts] == [2, 2]
    for i in range(4):
        masks, classes = parts[i // 2].targets[i % 2]
        assert classes.tolist() == ([0, 4, 7] if i < 3 else [])
        assert torch.equal(
            masks, torch.tensor(np.stack([labels[i] == c for c in (0, 4, 7)])[: len(classes)])
        )
        assert np.array_equal(parts[i // 2].images[i % 2].permute(1, 2, 0), images[i])


def test_instances_are_unpacked():
    rng = np.random.default_rng(0)
    masks = rng.random((1, 3, 13, 13)) < 0.5
    batch = {
        "image": np.zeros((1, 13, 13, 3), np.uint8),
        "masks": np.packbits(masks, axis=-1),
        "categories": np.int16([[5, -1, 2]]),
    }
    (part,) = parts_of(batch, 1, CPU)
    assert part.targets[0].classes.tolist() == [5, 2]
    assert np.array_equal(part.targets[0].masks, masks[0, [0, 2]])
