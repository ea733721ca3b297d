"""In-context labels: a dense float64 reading of the definition."""

import numpy as np
import pytest

from rats_jax.parts.probes import in_context
from rats_jax.parts.probes.in_context import drawn_patches, remembering


def dense(vectors, counts, queries, neighbours) -> np.ndarray:
    vectors, queries = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(np.float64, (vectors, queries))
    )
    found = []
    for cosines in queries @ vectors.T:
        nearest = np.argsort(-cosines, kind="stable")[:neighbours]
        weights = np.exp((cosines[nearest] - cosines.max()) / 0.02)
        labels = counts[nearest] / counts[nearest].sum(1, keepdims=True)
        found.append(weights @ labels / weights.sum())
    return np.array(found)


@pytest.mark.parametrize(("patches", "bank"), [(1000, 16384), (1000, 77), (9, 16384), (9, 4)])
def test_labels_are_those_of_the_definition(monkeypatch, patches, bank):
    """Also where the memory is searched in blocks, or has fewer patches than neighbours."""
    monkeypatch.setattr(in_context, "BANK", bank)
    monkeypatch.setattr(in_context, "QUERIES", 32)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(patches, 5)).astype(np.float32)
    counts = rng.integers(0, 5, (patches, 3)) + np.eye(3, dtype=int)[rng.integers(0, 3, patches)]
    queries = rng.normal(size=(75, 5)).astype(np.float32)
    found = remembering(vectors, counts, neighbours=30)(queries)
    np.testing.assert_allclose(found, dense(vectors, counts, queries, 30), atol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_patch_in_memory_with_one_neighbour_has_its_own_label():
    vectors = np.random.default_rng(1).normal(size=(40, 4))
    counts = np.eye(40)
    found = remembering(vectors, counts, neighbours=1)(7 * vectors)
    np.testing.assert_array_equal(found.argmax(1), np.arange(40))


def test_patches_without_a_label_are_not_drawn():
    labelled = np.arange(50) % 5 != 0
    drawn = drawn_patches(labelled, 3, share=12)
    assert len(set(drawn.tolist())) == 12 and labelled[drawn].all()
    assert drawn.tolist() == drawn_patches(labelled, 3, share=12).tolist()
    assert drawn.tolist() != drawn_patches(labelled, 4, share=12).tolist()
    assert drawn_patches(labelled, 3, share=99).tolist() == np.flatnonzero(labelled).tolist()
