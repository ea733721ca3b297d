"""Scores, retrieval and their file, against the literal specification."""

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.parts.dictionary.assignments import (
    SCORED,
    TRAINING,
    OfSplit,
    joined,
    read,
    resampled_scores,
    scores_of,
    write,
)
from rats_jax.parts.dictionary.naming import NONE
from rats_jax.parts.dictionary.retrieval import random_ranking, rank, tf_idf
from rats_jax.parts.dictionary.scores import Resampled, Scores
from tests.parts.dictionary import literal


def split(rng, images, *, entries, detectors=4, parts=3, classes=3, empty=0.2):
    """Random assignments: some detectors do not exist, some images have no parts, no entries or no
    class."""
    entry = rng.integers(0, entries, (images, detectors))
    label = rng.integers(0, parts, (images, detectors))
    entry[rng.random(entry.shape) < empty] = NONE
    entry[rng.random(images) < empty] = NONE
    label[rng.random(images) < empty] = NONE
    label[rng.random(label.shape) < empty] = NONE
    groups = [f"class {g}" if g else None for g in rng.integers(0, classes + 1, images)]
    return OfSplit(entry, label, [f"image {i}" for i in range(images)], groups)


def detectors_of(of):
    """(image, entry, label), as the literal scores take them."""
    return [
        (image, int(entry), None if label == NONE else int(label))
        for image, row in enumerate(zip(of.entry, of.label, strict=True))
        for entry, label in zip(*row, strict=True)
        if entry != NONE
    ]


def wanted_scores(training, scored, *, entries):
    one, two = detectors_of(training), detectors_of(scored)
    ranked = literal.retrieval(literal.image_vectors(two, len(scored.names)), scored.groups)
    ranked = [x for x in ranked if x is not None]
    means = [sum(x) / len(ranked) for x in zip(*ranked, strict=True)] or [None, None]
    labelled = any(label is not None for *_, label in one)
    return [
        literal.val_purity(two),
        literal.named(one, two) if labelled else None,
        literal.util(two, entries),
        *means,
    ]


CASES = [
    dict(images=6, entries=3, seed=0),
    dict(images=6, entries=12, seed=1),  # many of them empty
    dict(images=6, entries=2, classes=1, seed=2),
    dict(images=1, entries=3, seed=3),
    dict(images=6, entries=1, seed=4),
    dict(images=6, entries=3, parts=1, seed=5),
    dict(images=6, entries=3, empty=1.0, seed=6),  # nothing at all
    dict(images=7, entries=5, classes=2, detectors=1, seed=7),  # many ties
    dict(images=7, entries=2, classes=2, detectors=2, seed=8),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_score_is_the_literal_one_also_from_the_file(case, tmp_path):
    rng, options = np.random.default_rng(case["seed"]), dict(case)
    del options["seed"]
    training, scored = split(rng, **options), split(rng, **options)
    made = joined(training, scored, entries=case["entries"])
    write(tmp_path / "assignments.npz", made)
    found = scores_of(read(tmp_path / "assignments.npz"))
    wanted = wanted_scores(training, scored, entries=case["entries"])
    assert found.mean == pytest.approx(
        [np.nan if x is None else x for x in wanted], abs=1e-9, nan_ok=True
    )
    for low, mean, high in zip(found.low, found.mean, found.high, strict=True):
        assert np.isnan(mean) or (0 <= low <= high <= 1)


def test_intervals_hold_the_score_and_shrink_with_more_images():
    rng, widths = np.random.default_rng(0), []
    for images in (20, 320):
        found = scores_of(
            joined(split(rng, 5, entries=4), split(rng, images, entries=4), entries=4)
        )
        mean, low, high = map(np.array, found)
        assert (low - 1e-9 <= mean).all() and (mean <= high + 1e-9).all()
        widths.append(high - low)
    narrower = widths[1] < widths[0] / 2
    assert narrower[[Scores._fields.index(x) for x in ("purity", "named", "map")]].all()


def test_the_interval_of_a_saturated_score_holds_it():
    draws = np.full((1000, 5), 0.9)
    draws[:10] = 0.5  # too few for a percentile, and they lower the mean
    row = Resampled(Scores(*[0.9] * 5), draws)
    other = Resampled(Scores(*[0.2] * 5), np.full((1000, 5), 0.2))
    for found in (row.measured(), row.minus(other), other.minus(row)):
        assert (np.array(found.low) <= found.mean).all()
        assert (np.array(found.high) >= found.mean).all()


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    training, scored = split(rng, 30, entries=4), split(rng, 30, entries=4)
    one = resampled_scores(joined(training, scored, entries=4))
    nothing = one.minus(resampled_scores(joined(training, scored, entries=4)))
    assert all(set(end) == {0.0} for end in nothing)
    other = resampled_scores(joined(training, split(rng, 30, entries=4), entries=4))
    found = one.minus(other)
    assert found.mean == pytest.approx(np.subtract(one.mean, other.mean))
    uncertain = np.arange(5) != Scores._fields.index("util")  # all entries are in use
    mean, low, high = (np.array(x)[uncertain] for x in found)
    assert (low < mean).all() and (mean < high).all()


def test_the_order_of_images_changes_nothing():
    rng = np.random.default_rng(1)
    vectors, groups = rng.integers(0, 2, (40, 3)).astype(float), rng.choice(["a", "b"], 40)
    order = rng.permutation(40)
    one, other = rank(vectors, groups), rank(vectors[order], groups[order])
    np.testing.assert_allclose(one.precision[order], other.precision)
    np.testing.assert_allclose(one.first[order], other.first)


def test_images_without_entries_are_ranked_at_random():
    groups = ["a", "a", "b", "b", "b", None]
    entry = np.full(6, NONE)
    found = rank(tf_idf(np.arange(6), entry, images=6, entries=3), groups)
    wanted = random_ranking(groups)
    np.testing.assert_allclose(found.precision, wanted.precision)
    np.testing.assert_allclose(found.first, [0.25, 0.25, 0.5, 0.5, 0.5, np.nan])


def test_a_ranking_at_random_is_near_the_squared_shares_of_the_classes():
    groups = ["a"] * 300 + ["b"] * 500 + ["c"] * 200
    found = random_ranking(groups)
    assert np.mean(found.precision) == pytest.approx(0.3**2 + 0.5**2 + 0.2**2, abs=0.01)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(2)
    vectors, groups = rng.normal(size=(50, 4)), rng.choice(["a", "b", ""], 50)
    whole = rank(vectors, groups)
    monkeypatch.setattr("rats_jax.parts.dictionary.retrieval._CELLS", 70)
    np.testing.assert_array_equal(rank(vectors, groups), whole)


def test_the_file_is_plain_arrays(tmp_path):
    rng = np.random.default_rng(0)
    made = joined(split(rng, 2, entries=3), split(rng, 3, entries=3), entries=3)
    write(tmp_path / "a.npz", made)
    arrays = np.load(tmp_path / "a.npz")
    assert {"image", "register", "entry", "label", "split", "images", "groups"} <= set(arrays)
    assert arrays["split"].tolist() == [TRAINING] * 8 + [SCORED] * 12
    assert arrays["images"][arrays["image"][-1]] == "image 2"
    (tmp_path / "bad.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    for name in ("bad.npz", "none.npz"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name)
