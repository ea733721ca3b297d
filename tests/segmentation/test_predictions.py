"""Predictions equal a literal computation in PyTorch, and transformers' where both do the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rats_jax.errors import UserError
from rats_jax.segmentation.interface import Outputs
from rats_jax.segmentation.predictions import instances, labels_of_scores, semantic

QUERIES, CLASSES = 12, 7
#: (masks of the model, image): enlarged, reduced, and by a factor that is not whole.
SIZES = [((16, 20), (64, 80)), ((16, 20), (11, 7)), ((9, 14), (101, 67)), ((1, 1), (5, 3))]


def outputs(size: tuple[int, int], seed: int = 0) -> Outputs:
    """Smooth masks, some of which are empty."""
    rng = np.random.default_rng(seed)
    masks = rng.normal(-0.5, 1, (QUERIES, *size)).cumsum(1).cumsum(2) / 5
    masks[:3] = -np.abs(masks[:3]) - 0.1
    classes = rng.normal(0, 2, (QUERIES, CLASSES + 1))
    return Outputs(classes.astype(np.float32), masks.astype(np.float32))


def resized(masks: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Float64 [Q, h, w]."""
    masks = torch.from_numpy(masks).double()[None]
    return torch.nn.functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)[
        0
    ]


@pytest.mark.parametrize("model, image", SIZES)
def test_semantic_is_the_largest_sum_over_queries(model, image):
    given = outputs(model)
    classes = torch.from_numpy(given.class_logits).double().softmax(-1)[:, :-1]
    sums = torch.einsum("qc,qhw->chw", classes, resized(given.mask_logits, image).sigmoid())
    found = semantic(given, image)
    assert found.shape == image and found.dtype == np.int16
    best = sums.max(0).values
    chosen = sums.gather(0, torch.from_numpy(found).long()[None])[0]
    assert (best - chosen).max() < 1e-5
    assert (sums.argmax(0).numpy() == found).mean() > 0.99


@pytest.mark.parametrize("model, image", SIZES)
@pytest.mark.parametrize("most", [5, 100])
def test_instances_are_mask2formers(model, image, most):
    given = outputs(model)
    found = instances(given, image, most)
    probability = torch.from_numpy(given.class_logits).double().softmax(-1)[:, :-1].flatten()
    masks = resized(given.mask_logits, image)
    expected = []
    for place in probability.argsort(descending=True)[:most].tolist():
        mask = masks[place // CLASSES]
        inside = mask > 0
        if inside.any():
            score = probability[place] * mask.sigmoid()[inside].mean()
            expected.append((score.item(), place % CLASSES, inside.numpy()))
    expected.sort(key=lambda of: -of[0])
    np.testing.assert_allclose(found.scores, [score for score, *_ in expected], rtol=1e-5)
    assert found.categories.tolist() == [category for _, category, _ in expected]
    assert found.masks.shape == (len(expected), *image)
    for mask, (*_, other) in zip(found.masks, expected, strict=True):
        assert (mask != other).mean() < 0.001  # logits at 0, but for rounding


def of_transformers(given: Outputs) -> SimpleNamespace:
    return SimpleNamespace(
        class_queries_logits=torch.from_numpy(given.class_logits)[None],
        masks_queries_logits=torch.from_numpy(given.mask_logits)[None],
    )


@pytest.fixture(scope="module")
def processor():
    from transformers.models.mask2former import image_processing_pil_mask2former as module

    return module.Mask2FormerImageProcessorPil


def test_at_384_pixels_the_labels_are_those_of_transformers(processor):
    """It always resizes to 384 x 384 first, whatever the image's size; there both are equal."""
    given = outputs((96, 96))
    post = processor.post_process_semantic_segmentation
    (labels,) = post(None, of_transformers(given), target_sizes=[(384, 384)])
    assert (labels.numpy() == semantic(given, (384, 384))).mean() > 0.9999


def test_at_384_pixels_the_instances_are_those_of_transformers(processor):
    """It keeps as many pairs as there are queries, with a score above a threshold, and returns
    masks as floats; scores are rounded to six digits."""
    given = outputs((96, 96))
    post = processor.post_process_instance_segmentation
    (theirs,) = post(
        None,
        of_transformers(given),
        threshold=0.0,
        target_sizes=[(384, 384)],
        return_binary_maps=True,
    )
    found = instances(given, (384, 384), most=QUERIES)
    order = np.argsort([-of["score"] for of in theirs["segments_info"]], kind="stable")
    of_theirs = [theirs["segments_info"][i] for i in order]
    assert len(found.scores) == len(of_theirs) < QUERIES  # empty masks are left out
    np.testing.assert_allclose(found.scores, [of["score"] for of in of_theirs], atol=2e-6)
    assert found.categories.tolist() == [of["label_id"] for of in of_theirs]
    masks = theirs["segmentation"].numpy()[order] > 0
    assert (masks != found.masks).mean() < 1e-4


def test_extreme_logits_are_finite():
    given = outputs((8, 8))
    given.mask_logits[:] *= 1e4
    given.class_logits[:] *= 1e4
    with np.errstate(all="raise", under="ignore"):
        assert set(np.unique(semantic(given, (16, 16)))) <= set(range(CLASSES))
        assert np.isfinite(instances(given, (16, 16)).scores).all()


def test_without_a_positive_pixel_there_is_no_instance():
    given = outputs((8, 8))
    given.mask_logits[:] = -1
    found = instances(given, (16, 16))
    assert found.masks.shape == (0, 16, 16) and found.scores.shape == found.categories.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", Outputs._fields)
@pytest.mark.parametrize("predict", [semantic, instances])
def test_outputs_that_are_not_finite_are_an_error(value, field, predict):
    given = outputs((8, 8))
    getattr(given, field)[2, 1] = value
    with pytest.raises(UserError, match="training has diverged"):
        predict(given, (16, 16))


def test_labels_of_scores_enlarge_bilinearly():
    scores = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    large = resized(scores.transpose(2, 0, 1), (24, 33))
    found = labels_of_scores(scores, (24, 33))
    assert found.dtype == np.int16
    assert (found == large.argmax(0).numpy()).mean() > 0.998
    scores[0, 0, 0] = np.nan
    with pytest.raises(UserError, match="training has diverged"):
        labels_of_scores(scores, (24, 33))
