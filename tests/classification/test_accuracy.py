"""Top-1, top-5 and the null baseline, from few labels by hand."""

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from rats_jax.classification.accuracy import (
    accuracy,
    label_warnings,
    majority,
)
from rats_jax.errors import UserError


def test_top_1_and_top_5_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(80, 12)), rng.integers(0, 12, 80)
    found = accuracy(np.argsort(-scores, axis=1)[:, :5], labels)
    for k, share in zip((1, 5), found, strict=True):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=range(12))
        assert share == pytest.approx(expected)


def test_the_majority_is_of_what_was_learned_from():
    learned = np.array([9, 9, 9, 2, 2, 4, 5, 6, 7])  # 9, 2, then of equals the lowest: 4, 5, 6
    found = majority(learned, np.array([9, 2, 2, 7, 6, 5]))
    assert found == pytest.approx((1 / 6, 5 / 6))


def test_labels_that_make_scores_say_little_are_warned_of():
    def warned(learned, labels):
        return label_warnings(np.array(learned), np.array(labels), of="train")

    assert warned([0, 1], [0, 1, 1]) == []
    assert warned([0, 1, 9], [0, 2, 3, 1]) == [
        "warning: 2 of 4 images are of classes of which train has no image",
        "warning: 1 of 3 classes have no image among those that are scored",
    ]
    with pytest.raises(
        UserError, match="none of the 2 images that are scored has a label of train"
    ):
        warned([0, 1], [2, 3])
    assert warned([0, 1], [1, 1]) == [
        "warning: 1 of 2 classes have no image among those that are scored",
        "warning: all 2 images that are scored are of one class",
    ]
