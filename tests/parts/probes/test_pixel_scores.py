"""Scores over the pixels of a data set: those of scikit-learn's confusion matrix."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID
from rats_jax.parts.probes.pixel_scores import PixelCounts, count

CLASSES = np.array([0, 3, 7, 2**24, 2**24 + 5])  # nothing is of the last, and nothing predicted
STRANGER = 9  # an id that the training images do not have


def images(number: int, right: float, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Masks, and places in CLASSES."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(number):
        shape = (5 + i % 3, 7)
        mask = rng.choice(
            [0, 3, 7, 2**24, STRANGER, VOID], shape, p=[0.4, 0.3, 0.1, 0.05, 0.05, 0.1]
        )
        truth = np.searchsorted(CLASSES, mask) % 4
        found.append((mask, np.where(rng.random(shape) < right, truth, rng.integers(0, 4, shape))))
    return found


def counted(pairs) -> PixelCounts:
    found = PixelCounts()
    for mask, prediction in pairs:
        (of_image,) = count(mask, [prediction], CLASSES)
        found.add(of_image)
    return found


def literal(pairs) -> tuple[list[float], dict[int, tuple[float, float]]]:
    """Scores, and IoU and accuracy by id, one class at a time."""
    masks = np.concatenate([mask.ravel() for mask, _ in pairs])
    ids = np.concatenate([CLASSES[prediction].ravel() for _, prediction in pairs])
    masks, ids = masks[masks != VOID], ids[masks != VOID]
    known = [*CLASSES.tolist(), STRANGER]
    table = confusion_matrix(masks, ids, labels=known)
    of_classes = {}
    for i, id_ in enumerate(known):
        union = table[i].sum() + table[:, i].sum() - table[i, i]
        iou = table[i, i] / union if union else np.nan
        of_classes[id_] = iou, table[i, i] / table[i].sum() if table[i].sum() else np.nan
    iou, accuracy = zip(*of_classes.values(), strict=True)
    means = [np.nanmean(iou), np.trace(table) / table.sum(), np.nanmean(accuracy)]
    return means, of_classes


@pytest.mark.parametrize("right", [0.0, 0.6, 1.0])
def test_scores_are_those_of_scikit_learns_confusion_matrix(right):
    pairs = images(9, right)
    found, (means, of_classes) = counted(pairs), literal(pairs)
    np.testing.assert_allclose(found.scores().mean, means, rtol=1e-12)
    np.testing.assert_allclose(found.mean(), means, rtol=1e-12)
    classes = found.classes()
    assert set(classes) == {0, 3, 7, 2**24, STRANGER}  # the class that nothing is of is left out
    for id_, of in classes.items():
        np.testing.assert_allclose(of[:2], of_classes[id_], rtol=1e-12)
        assert of.pixels == sum((mask == id_).sum() for mask, _ in pairs)
    assert classes[STRANGER].iou == 0 and classes[STRANGER].predicted == 0


def test_a_class_that_is_only_predicted_has_iou_0_and_no_accuracy():
    found = counted([(np.array([[0, 0, 3]]), np.array([[0, 2, 1]]))])
    assert found.classes()[7][:2] == (0.0, pytest.approx(np.nan, nan_ok=True))
    np.testing.assert_allclose(found.mean(), [(0.5 + 1 + 0) / 3, 2 / 3, 0.75])


def test_resampled_scores_are_those_of_the_images_that_were_drawn():
    pairs = images(7, 0.7)
    _, resampled = counted(pairs)._resampling()
    drawn = np.random.default_rng(0).multinomial(7, np.full(7, 1 / 7), size=3)
    for times, row in zip(drawn, resampled, strict=False):
        several = [pair for pair, n in zip(pairs, times, strict=True) for _ in range(n)]
        np.testing.assert_allclose(row, literal(several)[0], rtol=1e-12)


def test_intervals_hold_the_scores_of_many_images():
    """In about 95 of 100 samples of 60 images."""
    true = np.array(counted(images(5_000, 0.6, seed=1)).mean())
    held = np.zeros(3)
    for seed in range(100):
        measured = counted(images(60, 0.6, seed=100 + seed)).scores()
        held += (np.array(measured.low) <= true) & (true <= np.array(measured.high))
    assert (held >= 85).all(), held


def test_differences_are_paired():
    pairs = images(40, 0.6)
    one, other = counted(pairs), counted([(mask, 1 - np.minimum(of, 1)) for mask, of in pairs])
    np.testing.assert_allclose(one.difference(counted(pairs)), 0, atol=1e-12)
    difference = one.difference(other)
    np.testing.assert_allclose(difference.mean, np.subtract(one.mean(), other.mean()))
    assert np.all(np.array(difference.low) < difference.mean)
    assert np.all(difference.mean < np.array(difference.high))


def test_without_a_labelled_pixel_there_is_no_score():
    void = np.full((3, 3), VOID)
    with pytest.raises(UserError, match="no image has a labelled pixel to score: all are void"):
        counted([(void, np.zeros((3, 3), int))]).scores()
