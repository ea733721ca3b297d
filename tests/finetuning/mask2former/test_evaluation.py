"""Labels of pixels found on the device of a model."""

import numpy as np
import pytest
import torch

from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.evaluation import semantic_labels
from rats_jax.segmentation.interface import Outputs
from rats_jax.segmentation.predictions import semantic


def logits(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn((7, 5), generator=generator)
    return classes, 3 * torch.randn((7, 9, 12), generator=generator)


@pytest.mark.parametrize("size", [(150, 97), (9, 12), (5, 5)])
def test_labels_are_those_of_the_cpu_method(size):
    ours = semantic_labels(*logits(), size, name="a")
    theirs = semantic(Outputs(*(each.numpy() for each in logits())), size)
    assert ours.dtype == np.int16 and ours.shape == size
    assert (ours == theirs).mean() > 0.999  # ties within rounding


def test_outputs_that_are_not_finite_name_the_image():
    classes, masks = logits()
    masks[2, 3, 4] = torch.nan
    with pytest.raises(UserError, match=r"photo\.png: the outputs of the model are not finite"):
        semantic_labels(classes, masks, (20, 20), name="photo.png")
