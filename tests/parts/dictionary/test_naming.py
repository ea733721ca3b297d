"""Labels of detectors, peaks and names, against the literal specification."""

import numpy as np
import pytest

from rats_jax.parts.dictionary.naming import (
    NONE,
    labels_of,
    name_entries,
    parts_of,
    peaks_in_parts,
)
from rats_jax.parts.regions import resize_labels
from tests.parts.dictionary import literal

VOID, BACKGROUND = -1, 9


@pytest.mark.parametrize("size", [(8, 8), (13, 10), (3, 5)])
def test_labels_are_the_parts_with_the_highest_mean_over_pixels(size):
    rng = np.random.default_rng(0)
    for ids in ([VOID, BACKGROUND, 2, 5, 7], [BACKGROUND], [VOID], [4], [BACKGROUND, 3, 4]):
        mask = rng.choice(ids, size).astype(np.int32)
        maps = rng.choice([0, 0.3, 0.7, 1], (6, 12)).astype(np.float32)
        maps[0] = 0
        parts = parts_of(mask, grid=(4, 3), void=VOID, background=BACKGROUND)
        found = labels_of(maps, parts)
        heat = resize_labels(maps.reshape(-1, 4, 3), size).astype(float)
        wanted = [
            literal.label_of(x, mask.tolist(), void=VOID, background=BACKGROUND)
            for x in heat.tolist()
        ]
        assert found.tolist() == [NONE if x is None else x for x in wanted]


def test_equal_means_give_the_lowest_part():
    mask = np.array([[7, 3], [5, 5]])
    parts = parts_of(mask, grid=(2, 2))
    assert labels_of(np.full((1, 4), 0.3), parts).tolist() == [3]
    assert labels_of(np.array([[1, 0.2, 1, 1]]), parts).tolist() == [5]


def test_peaks_are_in_parts_if_half_of_their_patches_are():
    mask = np.full((4, 4), BACKGROUND)
    mask[0, :2] = 1  # half of patch 0
    mask[2, 2] = 2  # a quarter of patch 3
    mask[3, 0] = VOID
    parts = parts_of(mask, grid=(2, 2), void=VOID, background=BACKGROUND)
    assert parts.pixels.tolist() == [4, 4, 3, 4]
    maps = np.eye(4)
    maps = np.concatenate([maps, [[1, 1, 0.5, 0], [0, 0, 0, 0], [0.9, 0, 0, 1]]])
    assert peaks_in_parts(maps, parts).tolist() == [True] + [False] * 6


def test_a_keypoint_is_a_part_of_its_patch_and_void_patches_have_none():
    mask = np.full((4, 4), VOID)
    mask[0, 1] = 5  # a keypoint in patch 0
    parts = parts_of(mask, grid=(2, 2), void=VOID)
    assert peaks_in_parts(np.eye(4), parts).tolist() == [True, False, False, False]


@pytest.mark.parametrize("seed", range(5))
def test_names_are_the_literal_ones(seed):
    rng = np.random.default_rng(seed)
    entry, label = rng.integers(0, 9, 60), rng.integers(-1, 4, 60)
    found = name_entries(entry, label, entries=12)
    triples = zip([0] * 60, entry.tolist(), label.tolist(), strict=True)
    wanted = literal.names([(i, e, None if x < 0 else x) for i, e, x in triples])
    assert {e for e in range(12) if found.labels[e] != NONE} == set(wanted)
    for each, (name, purity) in wanted.items():
        assert found.labels[each] == name and found.purity[each] == pytest.approx(purity)
    assert np.isnan(found.purity[found.labels == NONE]).all()
    assert found.counts.tolist() == np.bincount(entry, minlength=12).tolist()


def test_ties_are_named_after_the_lowest_part_and_two_votes_are_no_name():
    found = name_entries(
        np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, NONE]),
        np.array([5, 2, 5, 2, 1, 1, 3, NONE, 3, 3]),
        entries=4,
    )
    assert found.labels.tolist() == [2, NONE, NONE, NONE]
    assert found.counts.tolist() == [4, 2, 3, 0]
