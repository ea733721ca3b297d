"""Losses and matching against transformers' own, called directly."""

import pytest
import torch
from torch.nn import functional as F
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerLoss,
)

from tests.finetuning.mask2former.models import draw, draw_targets, make


def test_losses_and_gradients_are_those_of_transformers():
    model = make()
    images, targets = draw(3, 3, 64, 64), draw_targets([4, 1, 8], (64, 64))  # 8 is above 6 queries
    torch.manual_seed(3)
    found = model(images, targets)[2]
    found["loss"].backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    torch.manual_seed(3)
    expected = model.network(
        (images / 255 - model.mean) / model.std,
        mask_labels=[masks.float() for masks, _ in targets],
        class_labels=[classes for _, classes in targets],
    ).loss
    expected.backward()
    torch.testing.assert_close(found["loss"], expected, rtol=1e-6, atol=0)
    parts = [found[f"loss_{name}"] for name in ("class", "mask", "dice")]
    torch.testing.assert_close(sum(parts), expected.detach(), rtol=1e-6, atol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_each_loss_and_the_matching_are_those_of_transformers():
    model = make()
    config, criterion = model.network.config, model.losses.criterion
    generator = torch.Generator().manual_seed(0)
    mask_logits = 3 * torch.randn(2, 6, 16, 16, generator=generator)
    class_logits = torch.randn(2, 6, 4, generator=generator)
    masks, classes = zip(*draw_targets([3, 5], (64, 64)), strict=True)
    floats = [x.float() for x in masks]
    torch.manual_seed(4)
    theirs = Mask2FormerLoss(config, {})(mask_logits, class_logits, floats, list(classes))
    torch.manual_seed(4)
    ours = criterion(mask_logits, class_logits, list(masks), list(classes))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=0)

    theirs = Mask2FormerHungarianMatcher(
        config.class_weight, config.mask_weight, config.dice_weight, config.train_num_points
    )
    torch.manual_seed(5)
    expected = theirs(mask_logits, class_logits, floats, classes)
    torch.manual_seed(5)
    for ours, pairs in zip(
        criterion.matcher(mask_logits, class_logits, masks, classes), expected, strict=True
    ):
        assert torch.equal(ours[0], pairs[0]) and torch.equal(ours[1], pairs[1])
        assert len(ours[0]) in (3, 5)


@pytest.mark.parametrize("numbers", [[0], [0, 0], [0, 2, 0]])
def test_images_without_objects_have_finite_losses(numbers):
    model = make()
    images, targets = draw(len(numbers), 3, 64, 64), draw_targets(numbers, (64, 64))
    classes, _, losses = model(images, targets)
    losses["loss"].backward()
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    if not sum(numbers):
        assert losses["loss_mask"] == losses["loss_dice"] == 0
        assert losses["loss"] > 0


def test_all_queries_of_an_image_without_objects_learn_no_object():
    model = make()
    outputs = model.network(draw(1, 3, 64, 64), output_auxiliary_logits=True)
    losses = model.losses(outputs, draw_targets([0], (64, 64)))
    logits = [x["class_queries_logits"] for x in outputs.auxiliary_logits]
    expected = sum(
        F.cross_entropy(x[0], torch.full((6,), 3)) for x in [*logits, outputs.class_queries_logits]
    )
    torch.testing.assert_close(losses["loss"], 2 * expected, rtol=1e-6, atol=0)


def test_padding_is_outside_of_every_mask():
    """The losses of an image are those of the same image padded by hand."""
    model = make()
    images, targets = draw(1, 3, 44, 40), draw_targets([3], (44, 40))
    grey = 255 * model.mean
    padded = F.pad(images - grey, (0, 24, 0, 20)) + grey
    masks, classes = targets[0]
    torch.manual_seed(0)
    found = model(images, targets)[2]["loss"]
    torch.manual_seed(0)
    expected = model(padded, [(F.pad(masks.int(), (0, 24, 0, 20)) > 0, classes)])[2]["loss"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_every_layer_is_supervised():
    model = make()
    outputs = model.network(draw(1, 3, 64, 64), output_auxiliary_logits=True)
    assert len(outputs.auxiliary_logits) == 3  # before the first layer, after it, after the second
