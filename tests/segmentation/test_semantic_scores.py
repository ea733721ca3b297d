"""Scores of label maps are mmseg's, computed literally in float64."""

from types import SimpleNamespace

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.segmentation.interface import VOID, Outputs, Segmented
from rats_jax.segmentation.predictions import semantic
from rats_jax.segmentation.scoring import from_bytes, open_scorer, to_bytes
from rats_jax.segmentation.semantic_scores import SemanticScorer

CLASSES = ("wall", "sky", "tree", "only predicted", "never there")


def image(seed: int) -> tuple[Segmented, Outputs]:
    """Most names are not UTF-8."""
    rng = np.random.default_rng(seed)
    size = (12 + seed, 17)
    labels = rng.choice([VOID, 0, 1, 2], size, p=[0.1, 0.5, 0.3, 0.1]).astype(np.int16)
    name = f"{seed}\udcff.jpg" if seed else "0.jpg"
    truth = Segmented(np.zeros((*size, 3), np.uint8), labels, None, None, None, name)
    logits = rng.normal(0, 2, (6, len(CLASSES) + 1)).astype(np.float32)
    logits[:, 4] = -20
    return truth, Outputs(logits, rng.normal(0, 3, (6, 4, 5)).astype(np.float32))


@pytest.fixture(scope="module")
def images():
    return [image(seed) for seed in range(8)]


def scored(images) -> SemanticScorer:
    scorer = open_scorer(SimpleNamespace(name="some", task="semantic", classes=CLASSES))
    for truth, outputs in images:
        scorer.add(truth, outputs)
    return scorer


def literal(images) -> tuple[dict[str, float], np.ndarray]:
    """mmseg's IoUMetric: areas of each class over all images; a class without any is left out."""
    intersection, predicted, true = np.zeros((3, len(CLASSES)))
    for truth, outputs in images:
        found = semantic(outputs, truth.labels.shape)[truth.labels != VOID]
        labels = truth.labels[truth.labels != VOID]
        for place in range(len(CLASSES)):
            intersection[place] += ((found == place) & (labels == place)).sum()
            predicted[place] += (found == place).sum()
            true[place] += (labels == place).sum()
    with np.errstate(invalid="ignore"):
        iou = intersection / (predicted + true - intersection)
        accuracy = intersection / true
    scores = {
        "semantic/miou": np.nanmean(iou),
        "semantic/aacc": intersection.sum() / true.sum(),
        "semantic/macc": np.nanmean(accuracy),
    }
    return scores, iou


def test_scores_are_mmsegs(images):
    scorer, (expected, iou) = scored(images), literal(images)
    assert scorer.metrics() == pytest.approx(expected, rel=1e-12)
    for name, estimate in scorer.measured().items():
        assert estimate.value == pytest.approx(expected[name], rel=1e-12)
        assert estimate.low < estimate.value < estimate.high
    classes = {of.name: of for of in scorer.classes()}
    assert set(classes) == set(CLASSES[:4])
    for name, value in zip(CLASSES[:3], iou, strict=False):
        assert classes[name].scores["iou"] == pytest.approx(value, rel=1e-12)
    assert classes["only predicted"].scores == {"iou": 0.0}
    assert list(scorer.headers) == list(expected)


def test_label_maps_can_be_added(images):
    scorer = open_scorer(SimpleNamespace(name="some", task="semantic", classes=CLASSES))
    for truth, outputs in images:
        scorer.add(truth, semantic(outputs, truth.labels.shape))
    assert scorer.metrics() == scored(images).metrics()


def test_processes_merge_and_order_does_not_matter(images):
    one = scored(images)
    states = [scored(images[1::2]).state(), scored(images[::-1]).state(), scored([]).state()]
    merged = scored([])
    merged.merge(from_bytes(to_bytes(state)) for state in states)
    assert len(merged) == len(images)  # one that two processes scored counts once
    assert merged.measured() == one.measured() and merged.classes() == one.classes()
    for key, values in merged.state().items():
        np.testing.assert_array_equal(values, one.state()[key])


def test_differences_are_paired(images):
    one = scored(images)
    assert set(one.difference(one).values()) == {(0, 0, 0)}
    right = scored([])
    for truth, _ in images:
        right.add(truth, truth.labels.clip(0))
    difference = right.difference(one)["semantic/aacc"]
    assert difference.value == pytest.approx(1 - one.metrics()["semantic/aacc"])
    assert 0 < difference.low < difference.value < difference.high
    with pytest.raises(UserError, match="different images"):
        one.difference(scored(images[1:]))


def test_errors_are_one_line(images):
    truth, outputs = images[0]
    scorer = scored([])
    with pytest.raises(UserError, match="^some has no labelled pixel"):
        scorer.metrics()
    scorer.add(truth._replace(labels=np.full_like(truth.labels, VOID)), outputs)
    for compute in (scorer.metrics, scorer.measured):
        with pytest.raises(UserError, match="^some has no labelled pixel to score: all are void"):
            compute()
    with pytest.raises(UserError, match="predicts 4 classes, and some has 5"):
        scorer.add(truth, outputs._replace(class_logits=outputs.class_logits[:, 1:]))
    broken = outputs._replace(mask_logits=outputs.mask_logits + np.nan)
    with pytest.raises(UserError, match="^0.jpg: .*training has diverged"):
        scorer.add(truth, broken)
