"""The losses beside those of transformers' Mask2Former, and beside literal float64 NumPy."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.models.mask2former import modeling_mask2former as official

from rats_jax.mask_head.head import Masks, mask_logits
from rats_jax.mask_head.losses import (
    label_losses,
    losses_of_layers,
    point_losses,
    totals_of,
)
from rats_jax.mask_head.options import LossOptions
from rats_jax.mask_head.points import draw_points
from rats_jax.mask_head.targets import VOID, Targets, targets_of

SIDE, GRID, CLASSES, QUERIES, WIDTH, LAYERS = 16, 8, 5, 7, 6, 2
OPTIONS = LossOptions(points=60, oversample=2.5, importance=0.7)


def random_outputs(batch: int, seed: int = 0) -> Masks:
    draw = np.random.default_rng(seed)
    shapes = (QUERIES, CLASSES + 1), (QUERIES, WIDTH), (GRID, GRID, WIDTH)
    return Masks(*(draw.normal(size=(batch, LAYERS, *s)).astype(np.float32) * 2 for s in shapes))


def random_instances(counts: list[int], most: int, seed: int = 1) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    batch = len(counts)
    masks = draw.random((batch, most, SIDE, SIDE)) < 0.4
    categories = draw.integers(0, CLASSES, (batch, most))
    return {
        "image": np.zeros((batch, SIDE, SIDE, 3), np.uint8),
        "size": np.full((batch, 2), SIDE, np.int32),
        "masks": np.packbits(masks, axis=-1),
        "categories": np.where(np.arange(most) < np.array(counts)[:, None], categories, -1).astype(
            np.int16
        ),
    }


def random_labels(batch: int, seed: int = 2) -> dict[str, np.ndarray]:
    blocks = np.random.default_rng(seed).integers(0, CLASSES, (batch, 4, 4))
    return {
        "image": np.zeros((batch, SIDE, SIDE, 3), np.uint8),
        "size": np.full((batch, 2), SIDE, np.int32),
        "labels": np.kron(blocks, np.ones((4, 4), int)).astype(np.int16),
    }


def our_losses(outputs: Masks, batch: dict, drawn, options: LossOptions = OPTIONS):
    targets = targets_of(batch, classes=CLASSES, queries=QUERIES)
    totals = totals_of(targets, queries=QUERIES, options=options)
    return losses_of_layers(outputs, batch, targets, drawn, totals, options)


def masks_of(batch: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks [M, S, S] and classes [M] of each image, without padding."""
    found = []
    for i in range(len(batch["image"])):
        if "labels" in batch:
            labels = batch["labels"][i]
            classes = np.unique(labels[labels != VOID])
            found.append((labels == classes[:, None, None], classes))
        else:
            masks = np.unpackbits(batch["masks"][i], axis=-1, count=SIDE)
            here = batch["categories"][i] >= 0
            found.append((masks[here], batch["categories"][i][here]))
    return found


def official_losses(outputs: Masks, batch: dict, drawn, monkeypatch) -> tuple[list, list]:
    """Losses of each layer (class, mask, dice) by transformers, with the points of ours; and the
    gradients of their weighted sum by class logits, embeddings and pixels."""
    truth = masks_of(batch)
    counts = [min(len(classes), QUERIES) for _, classes in truth]
    drawn = [torch.tensor(np.asarray(x)) for x in drawn]
    per_mask = [torch.repeat_interleave(x, torch.tensor(counts), 0) for x in drawn[1:]]
    order = [*(drawn[0][i : i + 1] for i in range(len(truth))), *per_mask] * LAYERS
    points = iter(order)

    def rand(*shape, device=None) -> torch.Tensor:
        found = next(points)
        assert found.shape == shape
        return found

    config = SimpleNamespace(
        num_labels=CLASSES,
        no_object_weight=OPTIONS.no_object,
        train_num_points=OPTIONS.points,
        oversample_ratio=OPTIONS.oversample,
        importance_sample_ratio=OPTIONS.importance,
        class_weight=OPTIONS.class_weight,
        mask_weight=OPTIONS.mask_weight,
        dice_weight=OPTIONS.dice_weight,
    )
    criterion = official.Mask2FormerLoss(config, {})
    tensors = [torch.tensor(x, requires_grad=True) for x in outputs]
    class_logits, embeddings, pixels = tensors
    logits = torch.einsum("bkqe,bkhwe->bkqhw", embeddings, pixels) * WIDTH**-0.5
    monkeypatch.setattr(torch, "rand", rand)
    losses = [
        criterion(
            logits[:, i],
            class_logits[:, i],
            [torch.tensor(masks, dtype=torch.float32) for masks, _ in truth],
            [torch.tensor(classes, dtype=torch.int64) for _, classes in truth],
        )
        for i in range(LAYERS)
    ]
    monkeypatch.undo()
    assert next(points, None) is None
    names = ("loss_cross_entropy", "loss_mask", "loss_dice")
    weights = OPTIONS.class_weight, OPTIONS.mask_weight, OPTIONS.dice_weight
    total = sum(w * loss[name] for loss in losses for w, name in zip(weights, names, strict=True))
    total.backward()
    return [[float(loss[name].detach()) for loss in losses] for name in names], [
        x.grad for x in tensors
    ]


def weighted(losses) -> jax.Array:
    weights = OPTIONS.class_weight, OPTIONS.mask_weight, OPTIONS.dice_weight
    return sum(w * x.sum() for w, x in zip(weights, losses, strict=False))


@pytest.mark.parametrize(
    "batch",
    [random_instances([3, 5, 1], 6), random_instances([9, 2], 9), random_labels(3)],
    ids=["instances", "more masks than queries", "semantic"],
)
def test_losses_and_gradients_are_those_of_transformers(batch, monkeypatch):
    outputs = random_outputs(len(batch["image"]))
    drawn = draw_points(jax.random.key(0), len(batch["image"]), OPTIONS)
    found = jax.jit(our_losses, static_argnums=3)(outputs, batch, drawn, OPTIONS)
    expected, gradients = official_losses(outputs, batch, drawn, monkeypatch)
    np.testing.assert_allclose(found[:3], expected, rtol=2e-5)
    ours = jax.grad(lambda outputs: weighted(our_losses(outputs, batch, drawn)))(outputs)
    for a, b in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(b.abs().max()))


def test_point_losses_are_their_definition_in_float64():
    draw = np.random.default_rng(0)
    logits, values, weights = (3 * draw.normal(size=(2, 40, 3)), *draw.random((2, 2, 40, 3)))
    mask_loss, dice_loss = point_losses(*(np.float32(x) for x in (logits, values, weights)))
    share = 1 / (1 + np.exp(-logits))
    entropy = -(values * np.log(share) + (1 - values) * np.log(1 - share))
    np.testing.assert_allclose(mask_loss, (weights * entropy).sum(1) / weights.sum(1), rtol=1e-5)
    both, sizes = (weights * share * values).sum(1), (weights * (share + values)).sum(1)
    np.testing.assert_allclose(dice_loss, 1 - (2 * both + 1) / (sizes + 1), rtol=1e-5)


def test_pixels_that_do_not_count_change_no_loss():
    """Neither labels nor predictions in void and padding."""
    batch = random_labels(2)
    batch["size"][1] = 12, 8
    batch["labels"][0, :8, :8] = VOID
    batch["labels"][1, 12:] = batch["labels"][1, :, 8:] = VOID
    outputs, drawn = random_outputs(2), draw_points(jax.random.key(0), 2, OPTIONS)
    before = our_losses(outputs, batch, drawn)
    # Pixels of predictions that no valid point reads: further inside than one pixel of the grid.
    outputs = jax.tree.map(np.copy, outputs)
    outputs.pixels[0, :, :3, :3] = outputs.pixels[1, :, 7:] = outputs.pixels[1, :, :, 5:] = 1e3
    for a, b in zip(before, our_losses(outputs, batch, drawn), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_padding_masks_change_no_loss():
    few = random_instances([3, 5], 6)
    many = {name: np.copy(x) for name, x in random_instances([3, 5], 20, seed=9).items()}
    many["masks"][:, :6], many["categories"][:, :6] = few["masks"], few["categories"]
    many["categories"][:, 6:] = -1
    outputs, drawn = random_outputs(2), draw_points(jax.random.key(0), 2, OPTIONS)
    for a, b in zip(*(our_losses(outputs, x, drawn) for x in (few, many)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("kind", ["semantic", "instances"])
def test_a_batch_without_targets_has_finite_losses(kind):
    batch = random_labels(2) if kind == "semantic" else random_instances([0, 0], 6)
    if kind == "semantic":
        batch["labels"][:] = VOID
    outputs, drawn = random_outputs(2), draw_points(jax.random.key(0), 2, OPTIONS)
    losses, gradients = jax.value_and_grad(
        lambda outputs: weighted(our_losses(outputs, batch, drawn))
    )(outputs)
    assert np.isfinite(losses) and all(np.isfinite(x).all() for x in gradients)
    found = our_losses(outputs, batch, drawn)
    np.testing.assert_array_equal(found.mask_loss, 0)
    expected = -jax.nn.log_softmax(outputs.class_logits)[..., -1].mean((0, 2))
    np.testing.assert_allclose(found.class_loss, expected, rtol=1e-5)


def test_where_there_are_more_classes_than_queries_the_largest_are_targets():
    labels = np.repeat(np.arange(4), [5, 60, 100, 91]).reshape(1, 16, 16).astype(np.int16)
    targets = targets_of({"labels": labels}, classes=9, queries=3)
    np.testing.assert_array_equal(targets.classes, [[2, 3, 1]])
    assert targets.present.all()
    np.testing.assert_array_equal(
        targets_of({"labels": labels}, classes=9, queries=20).present.sum(), 4
    )


def test_label_losses_are_those_of_torch():
    draw = np.random.default_rng(0)
    logits = 3 * draw.normal(size=(2, 4, 4, CLASSES)).astype(np.float32)
    labels = draw.integers(-1, CLASSES, (2, 16, 16)).astype(np.int16)
    found, right = label_losses(logits, labels)
    whole = torch.nn.functional.interpolate(
        torch.tensor(logits).permute(0, 3, 1, 2), size=(16, 16), mode="bilinear"
    )
    truth = torch.tensor(labels.astype(np.int64))
    expected = torch.nn.functional.cross_entropy(whole, truth, ignore_index=VOID, reduction="sum")
    np.testing.assert_allclose(found, float(expected), rtol=1e-5)
    assert right == float((whole.argmax(1) == truth).sum())


def test_mask_logits_are_float32_for_bfloat16():
    x = mask_logits(jnp.ones((1, 2, 4), jnp.bfloat16), jnp.ones((1, 3, 3, 4), jnp.bfloat16))
    assert x.dtype == jnp.float32 and (x == 2).all()


def test_a_batch_without_masks_has_a_finite_loss_also_without_no_object():
    empty = Targets(jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3), bool))
    for no_object, weights in ((0.0, 1.0), (0.5, 8.0)):
        options = dataclasses.replace(OPTIONS, no_object=no_object)
        totals = totals_of(empty, queries=8, options=options)
        assert (totals.masks, totals.weights) == (1.0, weights)
