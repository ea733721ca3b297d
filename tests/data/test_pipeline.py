"""Batches are a function of (seed, step, global batch) and of nothing else."""

import io
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from rats_jax.data import pipeline, worker
from rats_jax.data.crops import MultiCrop
from rats_jax.data.pipeline import open_batches, sample_order
from rats_jax.data.samples import Canvases, ExactCrops, FastCrops
from rats_jax.data.sources import ImageFolder
from rats_jax.errors import UserError

CROPS = MultiCrop(
    global_size=16, local_size=8, local_crops=3, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)
SAMPLES = ExactCrops(CROPS)
TOLD = {"unreadable", "replaced"}  # fields that are no arrays
COUNT = 23


class Numbered:
    """Image i is filled with i, so that crops tell where they come from."""

    def __init__(self, count: int = COUNT, broken: tuple[int, ...] = (), failing: int = -1):
        self.count = count
        self.broken = broken
        self.failing = failing

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            return b"damaged", 0
        if index == self.failing:
            raise KeyError("a fault of the source")
        image = np.full((24, 30, 3), index, np.uint8)
        image[..., 1] = np.arange(30)  # tells boxes apart
        return image, 0


def batches(count: int, source=None, **options) -> list[dict[str, np.ndarray]]:
    options = {"seed": 3, "batch_size": 8, "start_step": 0, "workers": 0, "threads": 2} | options
    options = {"samples": SAMPLES} | options
    with open_batches(source or Numbered(), **options) as stream:
        # Copies: the buffers are used again.
        return [
            {name: x if name in TOLD else x.copy() for name, x in next(stream).items()}
            for _ in range(count)
        ]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        assert all(a[name] == b[name] for name in TOLD)
        for name in a.keys() - TOLD:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def joined(shares: list[dict]) -> dict:
    """The global batch of the processes' shares."""
    arrays = shares[0].keys() - TOLD
    whole = {name: np.concatenate([share[name] for share in shares]) for name in arrays}
    whole["unreadable"] = {k: v for share in shares for k, v in share["unreadable"].items()}
    whole["replaced"] = sum(share["replaced"] for share in shares)
    return whole


@pytest.fixture(scope="module")
def reference():
    return batches(8)


def test_batches_have_the_documented_fields(reference):
    for batch in reference:
        assert batch["unreadable"] == {} and batch["replaced"] == 0
        arrays = {name: value for name, value in batch.items() if name not in TOLD}
        assert {name: (value.shape, value.dtype.name) for name, value in arrays.items()} == {
            "global": ((8, 2, 16, 16, 3), "uint8"),
            "local": ((8, 3, 8, 8, 3), "uint8"),
            "flips": ((8, 5), "bool"),
            "index": ((8,), "int64"),
        }
        assert (batch["global"][..., 0] == batch["index"][:, None, None, None]).all()
        assert (batch["local"][..., 0] == batch["index"][:, None, None, None]).all()


def test_every_epoch_is_another_permutation_with_other_crops(reference):
    drawn = np.concatenate([batch["index"] for batch in reference])
    epochs = drawn[:COUNT], drawn[COUNT : 2 * COUNT]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(COUNT))
    assert list(epochs[0]) != list(epochs[1]) != list(range(COUNT))
    crops = np.concatenate([batch["global"] for batch in reference])
    first, second = (crops[list(drawn).index(5, start)] for start in (0, COUNT))
    assert not np.array_equal(first, second)


def test_the_order_is_the_same_for_good():
    """A run that goes on under another version of grain or NumPy must go on in the same order."""
    order, key = sample_order(1000, 7)
    assert [order[k] for k in range(6)] == [668, 84, 161, 284, 451, 460]
    assert [order[k] for k in (1000, 1_000_000_000)] == [186, 198]
    rng = np.random.Generator(np.random.Philox(key=key, counter=(0, 0, 0, 5)))
    first = rng.random()
    assert first == 0.16800723180118582
    assert first == order.random_map(lambda _, rng: rng.random())[5]  # grain's own


def test_the_seed_decides_order_and_crops(reference):
    assert_same(batches(2), reference[:2])
    other = batches(2, seed=4)
    assert not np.array_equal(other[0]["index"], reference[0]["index"])


@pytest.mark.parametrize("step", [1, 5])
def test_a_restart_continues_where_the_step_says(reference, step):
    assert_same(batches(3, start_step=step), reference[step : step + 3])


@pytest.mark.processes
def test_a_restart_at_a_random_step_continues_in_the_next_epoch_too():
    step = int(np.random.default_rng().integers(1, 40))
    whole = batches(step + 4, threads=3)
    assert_same(batches(4, start_step=step, workers=1), whole[step:])
    drawn = np.concatenate([batch["index"] for batch in whole])
    for start in range(0, len(drawn) - COUNT + 1, COUNT):
        assert sorted(drawn[start : start + COUNT]) == list(range(COUNT)), f"{step=}"


def test_a_start_far_ahead_is_immediate():
    assert batches(1, start_step=1_000_000_000)[0]["index"].shape == (8,)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_out_the_same_global_batches(reference, processes):
    shares = [batches(3, start_step=1, rows=share) for share in np.split(np.arange(8), processes)]
    assert_same([joined(list(step)) for step in zip(*shares, strict=True)], reference[1:4])


@pytest.mark.parametrize("threads", [1, 5])
def test_threads_leave_no_trace(reference, threads):
    assert_same(batches(3, threads=threads), reference[:3])


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 3])
def test_worker_processes_leave_no_trace(reference, workers):
    assert_same(batches(3, workers=workers, threads=1, start_step=2), reference[2:5])


@pytest.mark.processes
def test_workers_of_several_processes_leave_no_trace(reference):
    options = {"workers": 2, "threads": 2, "start_step": 4}
    shares = [batches(2, rows=rows, **options) for rows in (range(4), range(4, 8))]
    assert_same([joined(list(step)) for step in zip(*shares, strict=True)], reference[4:6])


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_the_size_of_tasks_leaves_no_trace(reference, monkeypatch, chunk):
    monkeypatch.setattr(pipeline, "CHUNK", chunk)
    assert_same(batches(3, threads=1), reference[:3])


@pytest.mark.processes
@pytest.mark.parametrize("way", [FastCrops(CROPS), Canvases(CROPS, size=32)])
def test_the_other_ways_keep_the_order_too(reference, way):
    ours = batches(4, samples=way)
    assert [list(b["index"]) for b in ours] == [list(b["index"]) for b in reference[:4]]
    shares = [
        batches(2, samples=way, workers=1, start_step=2, rows=rows)
        for rows in (range(4), range(4, 8))
    ]
    assert_same([joined(list(step)) for step in zip(*shares, strict=True)], ours[2:])


def test_a_batch_holds_until_the_next_is_asked_for(reference):
    with open_batches(
        Numbered(), samples=SAMPLES, seed=3, batch_size=8, start_step=0, workers=0, threads=3
    ) as stream:
        for expected in reference:
            batch = next(stream)
            time.sleep(0.05)  # time enough for the threads to write where they should not
            assert_same([batch], [expected])


@pytest.mark.processes
def test_an_unreadable_image_is_replaced_by_the_next_and_reported():
    broken = (4, 5, COUNT - 1)
    replacement = {4: 6, 5: 6, COUNT - 1: 0}
    whole = batches(6)
    holed = batches(6, Numbered(broken=broken))
    reported = {}
    for a, b in zip(whole, holed, strict=True):
        assert [replacement.get(i, i) for i in a["index"]] == list(b["index"])
        tried = {i for i in a["index"] if i in broken} | ({5} if 4 in a["index"] else set())
        assert b["unreadable"].keys() == tried
        assert b["replaced"] == sum(i in broken for i in a["index"])
        assert (b["global"][..., 0] == b["index"][:, None, None, None]).all()
        reported |= b["unreadable"]
    assert reported == dict.fromkeys(
        broken, "not an image: none of JPEG, PNG, WEBP, GIF, BMP, TIFF"
    )
    assert_same(batches(6, Numbered(broken=broken), workers=1), holed)


def test_a_data_set_that_cannot_be_read_at_all_is_a_users_mistake(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(b"\xff\xd8 truncated")
    with pytest.raises(UserError, match=r"5 images in a row cannot be read: \d.jpg .*; check"):
        batches(1, ImageFolder(tmp_path))


@pytest.mark.processes
def test_the_mistake_is_reported_from_workers_too(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 image in a row cannot be read: 0\.jpg"):
        batches(1, ImageFolder(tmp_path), workers=1, threads=1)


def test_files_are_decoded(tmp_path):
    for i in range(3):
        out = io.BytesIO()
        Image.new("RGB", (20, 20), (40 * i, 0, 0)).save(out, "PNG")
        (tmp_path / f"{i}.png").write_bytes(out.getvalue())
    for batch in batches(2, ImageFolder(tmp_path)):
        assert (batch["global"][..., 0] == 40 * batch["index"][:, None, None, None]).all()


def test_a_batch_larger_than_the_data_set_is_fine():
    batch = batches(1, Numbered(3), batch_size=10)[0]
    assert Counter(batch["index"][:9]) == {0: 3, 1: 3, 2: 3}


def test_rows_of_a_process_need_not_be_neighbours(reference):
    rows = [0, 1, 4, 7]
    ours = batches(2, start_step=2, rows=rows)
    for batch, whole in zip(ours, reference[2:4], strict=True):
        for name in batch.keys() - TOLD:
            np.testing.assert_array_equal(batch[name], whole[name][rows])


def test_too_little_shared_memory_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="shm-size"):
        worker._check_shared_memory(1 << 60, str(tmp_path))
