"""K-means against scikit-learn from the same start, and what happens at the edges."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from rats_jax.errors import UserError
from rats_jax.parts.dictionary import kmeans, lloyd, spread_start, vector_streams
from rats_jax.parts.dictionary.kmeans import InMemory, fit, nearest


def clustered(count: int, width: int, clusters: int, *, noise: float = 1.0, seed: int = 0):
    """Vectors [count, width] around random centers, far from the origin."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((clusters, width)) + 5
    vectors = centers[rng.integers(0, clusters, count)]
    return (vectors + noise * rng.standard_normal(vectors.shape)).astype(np.float32)


def start_of(vectors: np.ndarray, entries: int, seed: int = 0) -> np.ndarray:
    return vectors[np.random.default_rng(seed).choice(len(vectors), entries, replace=False)]


@pytest.mark.parametrize(("count", "width", "entries"), [(2000, 8, 12), (700, 3, 80), (50, 5, 1)])
def test_equals_scikit_learn_from_the_same_start(count, width, entries):
    vectors = clustered(count, width, entries)
    start = start_of(vectors, entries)
    found = fit(InMemory(vectors), entries, start=start)
    theirs = KMeans(entries, init=start, n_init=1, max_iter=100).fit(vectors)
    np.testing.assert_allclose(found.centers, theirs.cluster_centers_, atol=2e-5)
    labels, squares = nearest(vectors, found.centers)
    np.testing.assert_array_equal(labels, theirs.labels_)
    np.testing.assert_array_equal(found.sizes, np.bincount(labels, minlength=entries))
    assert found.objective == pytest.approx(theirs.inertia_, rel=1e-5)
    assert squares.sum(dtype=float) == pytest.approx(found.objective)
    assert found.converged
    assert found.iterations <= theirs.n_iter_ + 1


def test_vectors_are_scaled_to_length_1_and_zeros_stay():
    vectors = np.concatenate([clustered(400, 6, 5), np.zeros((1, 6), np.float32)])
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = vectors / np.where(lengths > 0, lengths, 1)
    # of lengths that differ, or the zeros would be as far from each of them
    start = start_of(scaled, 5) * np.linspace(0.9, 1, 5, dtype=np.float32)[:, None]
    found = fit(InMemory(vectors), 5, start=start, unit=True)
    theirs = KMeans(5, init=start, n_init=1, max_iter=100).fit(scaled)
    assert found.objective == pytest.approx(theirs.inertia_, rel=1e-5)
    np.testing.assert_array_equal(nearest(vectors, found.centers, unit=True)[0], theirs.labels_)


def test_empty_clusters_move_to_the_farthest_vectors_as_in_scikit_learn():
    vectors = clustered(300, 2, 6, noise=0.3)
    start = np.concatenate([vectors[:4], np.full((2, 2), 1e3, np.float32)])
    found = fit(InMemory(vectors), 6, start=start, iterations=1)
    theirs = KMeans(6, init=start, n_init=1, max_iter=1, tol=0).fit(vectors)
    assert found.sizes.min() > 0
    order, other = np.lexsort(found.centers.T), np.lexsort(theirs.cluster_centers_.T)
    np.testing.assert_allclose(found.centers[order], theirs.cluster_centers_[other], atol=1e-5)


def test_an_empty_cluster_does_not_take_the_only_vector_of_another():
    vectors = np.array([[0.0], [0.1], [9.0]], np.float32)
    found = fit(InMemory(vectors), 3, start=np.array([[0.05], [8.0], [50.0]], np.float32))
    assert sorted(found.sizes) == [1, 1, 1]
    assert found.objective == pytest.approx(0, abs=1e-9)


def test_duplicates_and_distinct_vectors():
    three = np.repeat(np.array([[1, 0], [0, 1], [5, 5]], np.float32), 40, axis=0)
    found = fit(InMemory(three), 3)
    assert found.objective == pytest.approx(0, abs=1e-9)
    assert sorted(found.sizes) == [40, 40, 40]
    with pytest.raises(UserError, match="4 entries of only 3 distinct vectors"):
        fit(InMemory(three), 4)
    # distances of these are rounding, and yet they are distinct
    close = np.ones((4, 300), np.float32)
    close[np.arange(4), np.arange(4)] += 1e-4
    close = np.concatenate([close, close + 1000, close])
    start = spread_start.spread_start(InMemory(close), 8, np.random.default_rng(0))
    assert len(np.unique(start, axis=0)) == 8
    assert fit(InMemory(close), 8).sizes.sum() == 12


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_values_that_are_not_finite_are_one_line(bad):
    vectors = clustered(50, 4, 3)
    vectors[17, 2] = bad
    with pytest.raises(UserError, match=r"^vector 17 has values that are not finite") as error:
        fit(InMemory(vectors), 3)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="vector 17"):
        nearest(vectors, vectors[:3])


def test_wrong_numbers_of_entries_are_one_line():
    vectors = clustered(10, 4, 2)
    with pytest.raises(UserError, match="11 entries of only 10 vectors"):
        fit(InMemory(vectors), 11)
    with pytest.raises(UserError, match="0 entries"):
        fit(InMemory(vectors), 0)


def test_chunks_and_blocks_change_only_rounding(monkeypatch):
    vectors = clustered(3000, 16, 10)
    start = start_of(vectors, 10)
    whole = fit(InMemory(vectors), 10, start=start)
    monkeypatch.setattr(vector_streams, "_CHUNK_BYTES", 4 * 16 * 128)
    monkeypatch.setattr(lloyd, "_TABLE_BYTES", 4 * 10 * 16)
    parts = fit(InMemory(vectors), 10, start=start)
    np.testing.assert_allclose(parts.centers, whole.centers, atol=1e-5)
    np.testing.assert_array_equal(parts.sizes, whole.sizes)
    assert parts.objective == pytest.approx(whole.objective, rel=1e-6)


def test_the_best_of_several_starts_is_taken_and_repeats():
    vectors = clustered(600, 2, 30, noise=0.1)
    single = [fit(InMemory(vectors), 30, seed=0, restarts=n).objective for n in (1, 2, 4)]
    assert single[0] >= single[1] >= single[2]
    again = fit(InMemory(vectors), 30, seed=0, restarts=4)
    assert again.objective == single[2]
    assert fit(InMemory(vectors), 30, seed=1).objective != single[0]


def test_the_start_is_as_good_as_scikit_learns(monkeypatch):
    """Also if it is of a sample, which then is 40 % of the vectors."""
    monkeypatch.setattr(spread_start, "_LEAST", 800)
    vectors = clustered(2000, 8, 25, noise=0.2)
    ours = [fit(InMemory(vectors), 25, seed=s, iterations=1).objective for s in range(8)]
    theirs = [
        KMeans(25, n_init=1, max_iter=1, random_state=s).fit(vectors).inertia_ for s in range(8)
    ]
    assert np.median(ours) < 1.1 * np.median(theirs)


class Killed(Exception):
    pass


@pytest.mark.parametrize("last", [1, 3, 9])
def test_a_resumed_fit_equals_one_that_was_not_ended(tmp_path, last):
    vectors = clustered(900, 5, 12)
    whole = fit(InMemory(vectors), 12, restarts=2, iterations=6)
    lines = []

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == last:
            raise Killed

    state = tmp_path / "fit.npz"
    with pytest.raises(Killed):
        fit(InMemory(vectors), 12, restarts=2, iterations=6, state=state, report=report)
    later: list[str] = []
    resumed = fit(InMemory(vectors), 12, restarts=2, iterations=6, state=state, report=later.append)
    np.testing.assert_array_equal(resumed.centers, whole.centers)
    np.testing.assert_array_equal(resumed.sizes, whole.sizes)
    assert resumed[1::2] == whole[1::2]
    assert not set(lines) & set(later), "an iteration was repeated"
    finished = fit(InMemory(vectors), 12, restarts=2, iterations=6, state=state)
    np.testing.assert_array_equal(finished.centers, whole.centers)


def test_a_state_of_another_fit_or_a_damaged_one_is_one_line(tmp_path):
    vectors, state = clustered(100, 5, 4), tmp_path / "fit.npz"
    fit(InMemory(vectors), 4, state=state)
    with pytest.raises(UserError, match=r"fit.npz is of another fit \(entries 4, now 5\)"):
        fit(InMemory(vectors), 5, state=state)
    with pytest.raises(UserError, match="other vectors"):
        fit(InMemory(vectors + 1), 4, state=state)
    state.write_bytes(state.read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged"):
        fit(InMemory(vectors), 4, state=state)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="No space left on device.*resumes"):
        fit(InMemory(clustered(100, 5, 4)), 4, state=tmp_path / "fit.npz")
    assert kmeans.nearest(np.zeros((0, 5), np.float32), np.zeros((2, 5)))[0].shape == (0,)
