"""Vectors in shards on disk: what is read is what was written, and errors are one line."""

import errno
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from rats_jax.dictionaries import store as stores
from rats_jax.dictionaries.store import Store
from rats_jax.errors import UserError
from rats_jax.parts.dictionary.kmeans import fit

ABOUT = {"model": "demo", "resolution": [96, 96]}
VECTORS, WIDTH = 6, 8


def batch(first: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(first)
    return {
        "vectors": rng.standard_normal((count, VECTORS, WIDTH), dtype=np.float32),
        "label": rng.integers(-1, 5, (count, VECTORS)),
        "known": rng.random(count) < 0.5,
    }


def bf16(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(stores, "_SHARD_BYTES", 1000)


def filled(folder: Path, batches: int = 7, count: int = 5) -> tuple[Store, dict[str, np.ndarray]]:
    """A closed store of several shards, and all that was written."""
    store = Store.open(folder, ABOUT)
    written = [batch(first, count) for first in range(batches)]
    for one in written:
        store.append(one)
    store.close()
    return store, {name: np.concatenate([b[name] for b in written]) for name in written[0]}


@pytest.mark.usefixtures("small_shards")
def test_what_is_written_is_read(tmp_path):
    filled(tmp_path / "deep" / "folder")
    store, written = filled(tmp_path / "other")
    assert len(store.shards()) > 2
    for name in ("label", "known"):
        read = Store.open(tmp_path / "deep" / "folder", ABOUT).array(name)
        assert read.dtype == written[name].dtype
        np.testing.assert_array_equal(read, written[name])


def test_shards_are_also_written_by_time(tmp_path, monkeypatch):
    store = Store.open(tmp_path, ABOUT)
    store.append(batch(0, 2))
    assert store.images == 0
    monkeypatch.setattr(stores, "_SHARD_SECONDS", 0.0)
    store.append(batch(1, 3))
    assert store.images == 5


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("share", [None, 0.4, 0.0])
def test_vectors_are_streamed_by_a_mask(tmp_path, share):
    store, written = filled(tmp_path)
    keep = None
    expected = bf16(written["vectors"]).reshape(-1, WIDTH)
    if share is not None:
        keep = np.random.default_rng(0).random((35, VECTORS)) < share
        keep[:12] = False  # a whole shard
        expected = expected[keep.ravel()]
    vectors = store.vectors(keep)
    assert len(vectors) == len(expected)
    for size in (1, 13, 64, 1000):
        chunks = list(vectors.chunks(size))
        assert all(len(chunk) == size for chunk in chunks[:-1])
        assert all(chunk.dtype == np.float32 for chunk in chunks)
        joined = np.concatenate(chunks) if chunks else np.zeros((0, WIDTH))
        np.testing.assert_array_equal(joined, expected)
    if len(expected):
        some = np.random.default_rng(1).integers(0, len(expected), 50)
        np.testing.assert_array_equal(vectors.rows(some), expected[some])
    with pytest.raises(ValueError, match="35 images"):
        store.vectors(np.ones((34, VECTORS), bool))


def test_writing_resumes_after_the_last_complete_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "_SHARD_BYTES", 2000)
    store = Store.open(tmp_path, ABOUT)
    for first in range(10):
        store.append(batch(first, 5))
    resumed = Store.open(tmp_path, ABOUT)  # the first one is gone without `close`
    assert 0 < resumed.images < 50
    assert resumed.images % 5 == 0
    (tmp_path / f"{len(resumed.shards()):05d}.bin").write_bytes(b"half a shard")
    for first in range(resumed.images // 5, 10):
        resumed.append(batch(first, 5))
    resumed.close()
    again = Store.open(tmp_path, ABOUT)
    assert again.images == 50
    expected = np.concatenate([batch(first, 5)["label"] for first in range(10)])
    np.testing.assert_array_equal(again.array("label"), expected)


def test_a_fit_of_shards_equals_that_of_the_array(tmp_path, monkeypatch):
    """Chunks do not depend on where shards end, so that centers are equal in every bit."""
    monkeypatch.setattr(stores, "_SHARD_BYTES", 1000)
    store, _ = filled(tmp_path / "small")
    monkeypatch.setattr(stores, "_SHARD_BYTES", 1 << 20)
    whole, _ = filled(tmp_path / "large")
    found, other = fit(store.vectors(), 9), fit(whole.vectors(), 9)
    np.testing.assert_array_equal(found.centers, other.centers)


def test_a_store_of_other_vectors_is_one_line(tmp_path):
    filled(tmp_path)
    with pytest.raises(UserError, match=r"other vectors \(model demo, now S\)") as error:
        Store.open(tmp_path, {**ABOUT, "model": "S"})
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("small_shards")
def test_a_damaged_or_missing_shard_is_named(tmp_path):
    store, _ = filled(tmp_path)
    shard = tmp_path / "00001.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 4
    shard.write_bytes(content)
    fresh = Store.open(tmp_path, ABOUT)
    with pytest.raises(UserError, match=r"00001.bin is damaged: remove"):
        list(fresh.vectors().chunks(10))
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"00001.bin is damaged"):
        Store.open(tmp_path, ABOUT)
    shard.unlink()
    with pytest.raises(UserError, match=r"00001.bin is missing"):
        Store.open(tmp_path, ABOUT)
    with pytest.raises(UserError, match=r"00001.bin is missing"):
        store.array("label")
    for content in ("{", "[]", json.dumps({"about": ABOUT, "arrays": 1, "shards": []})):
        (tmp_path / "index.json").write_text(content)
        with pytest.raises(UserError, match=r"index.json is damaged"):
            Store.open(tmp_path, ABOUT)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    store = Store.open(tmp_path, ABOUT)
    store.append(batch(0, 5))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(UserError, match="No space left on device.*free some space"):
            store.close()
    assert Store.open(tmp_path, ABOUT).images == 0
    store.close()  # there is space again
    assert Store.open(tmp_path, ABOUT).images == 5


def test_batches_must_be_alike(tmp_path):
    store = Store.open(tmp_path, ABOUT)
    store.append(batch(0, 5))
    with pytest.raises(ValueError, match="a batch of"):
        store.append({"vectors": np.zeros((5, VECTORS, WIDTH + 1), np.float32)})
