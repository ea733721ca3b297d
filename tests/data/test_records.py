"""Shards of our own: what goes in comes out, by index, from anywhere, and damage is named."""

import json
import multiprocessing
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from rats_jax.data import records
from rats_jax.data.records import Records, open_writer, pack, unpack
from rats_jax.errors import UserError

NAMES = ["a/1.jpg", 'b/"2"\n.png', "b/\N{SNOWMAN}\udcff.webp", "c/4.jpg", "c/5.jpg"]
LABELS = [0, 1, 1, 2, 2]
IMAGES = [random.Random(i).randbytes(30_000 + i) for i in range(5)]
EXPECTED = list(zip(IMAGES, LABELS, strict=True))


@pytest.fixture
def folder(tmp_path):
    """Five images in shards of three and two, with an empty shard between."""
    shards = []
    for number, indices in enumerate([(0, 1, 2), (), (3, 4)]):
        path = tmp_path / f"train-{number:05d}-of-00003.array_record"
        writer = open_writer(path)
        for i in indices:
            writer.write(pack(NAMES[i], LABELS[i], IMAGES[i]))
        writer.close()
        shards.append(
            {"file": path.name, "images": len(indices), "bytes": path.stat().st_size, "sha256": ""}
        )
    write_manifest(tmp_path, shards=shards)
    return tmp_path


def write_manifest(folder, **changes):
    manifest = {"format": 1, "images": 5, "classes": ["a", "b", "c"], "unreadable": []}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def read_all(source) -> list:
    return [source[i] for i in range(len(source))]


def test_a_record_keeps_name_label_and_every_byte():
    for name, label, image in zip(NAMES, LABELS, IMAGES, strict=True):
        assert unpack(pack(name, label, image)) == (name, label, image)
    assert unpack(pack("x", 3, b"\n\nabc\n")) == ("x", 3, b"\n\nabc\n")
    for junk in (b"", b"\xff\xd8\xff\xe0 a bare jpeg\n", b"[]\n", b'{"name": "x"}\n'):
        with pytest.raises(ValueError, match="not a record"):
            unpack(junk)


def test_images_come_in_the_order_of_the_manifest(folder):
    source = Records(folder)
    assert len(source) == 5 and source.classes == ["a", "b", "c"]
    assert read_all(source) == EXPECTED
    assert [source[i] for i in (4, 0, 2)] == [EXPECTED[i] for i in (4, 0, 2)]
    assert len(source.files) == 5 and list(source.files) == NAMES
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            source[outside]


@pytest.mark.processes
def test_it_is_read_by_many_threads_and_by_a_spawned_process(folder):
    source = Records(folder)
    order = [random.Random(0).randrange(5) for _ in range(2000)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(source.__getitem__, order)) == [EXPECTED[i] for i in order]
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert workers.apply(read_all, (source,)) == EXPECTED


def test_shards_are_opened_when_first_read_and_once(folder):
    def opened():
        links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return sum(".array_record" in os.readlink(link) for link in links if os.path.exists(link))

    before = opened()
    source = Records(folder)
    assert opened() == before
    source[0]
    assert opened() == before + 1
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(source.__getitem__, [0, 1, 2, 3, 4] * 50))
    assert opened() == before + 2
    copy = pickle.loads(pickle.dumps(source))
    assert opened() == before + 2
    del source
    assert opened() == before
    assert read_all(copy) == EXPECTED


def test_a_damaged_record_is_an_error_of_its_own_and_named_by_its_place(folder):
    path = folder / "train-00000-of-00003.array_record"
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES[1]) + 10_000] ^= 1
    path.write_bytes(data)
    source = Records(folder)
    place = f"record 1 of {path.name}"
    with pytest.raises(OSError, match=place):
        source[1]
    assert [source[i] for i in (0, 2, 3, 4)] == [EXPECTED[i] for i in (0, 2, 3, 4)]
    assert source.files[1] == place and source.files[2] == NAMES[2]


def test_a_shard_cut_while_it_is_read_gives_errors_not_empty_images(folder):
    source = Records(folder)
    assert source[0] == EXPECTED[0]
    os.truncate(folder / "train-00000-of-00003.array_record", 65536 + 20_000)
    with pytest.raises(OSError, match="record 2 of train-00000"):
        source[2]


def test_a_missing_folder_or_manifest_is_a_users_mistake(folder, tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; .*rats_jax.prepare"):
        Records(tmp_path / "nowhere")
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"has no manifest.json; .* run it again"):
        Records(folder)
    for part in ("val", "train"):
        (folder / part).mkdir()
        write_manifest(folder / part)
    with pytest.raises(UserError, match=r"give one of its folders train, val"):
        Records(folder)


def test_a_manifest_that_is_none_is_a_users_mistake(folder):
    for text in ("{", "[]", "{}", '{"format": 2}'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(UserError, match=r"manifest.json (is of format|cannot be read)"):
            Records(folder)
    write_manifest(folder)
    with pytest.raises(UserError, match=r"manifest.json lacks 'shards'"):
        Records(folder)
    write_manifest(folder, shards=[])
    with pytest.raises(UserError, match="contains no image"):
        Records(folder)


def test_a_missing_or_cut_shard_is_a_users_mistake(folder):
    path = folder / "train-00002-of-00003.array_record"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(UserError, match=rf"00002-of-00003.* has {size - 1} bytes, not {size}; "):
        Records(folder)
    path.unlink()
    with pytest.raises(UserError, match=r"00002-of-00003.* cannot be read .*No such file.*; "):
        Records(folder)


def test_the_limit_of_open_files_is_raised_for_many_shards(monkeypatch):
    set_to = []
    monkeypatch.setattr(records.resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(records.resource, "setrlimit", lambda _, limits: set_to.append(limits))
    records._allow_open_files(100)
    assert not set_to
    records._allow_open_files(1000)
    assert set_to == [(1256, 4096)]
    with pytest.raises(UserError, match="5000 shards .* may open only 4096 files; raise the limit"):
        records._allow_open_files(5000)


def test_shards_that_are_not_in_the_manifest_are_named(folder):
    assert Records(folder).notes == []
    for name in ("train-00003-of-00004.array_record", "more.array_record"):
        (folder / name).write_bytes(b"")
    (note,) = Records(folder).notes
    assert note.startswith("warning: ") and "not in manifest.json" in note
    assert note.endswith(": 2 (first more.array_record)")


def test_the_home_directory_is_meant_by_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert read_all(Records(f"~/{folder.name}")) == EXPECTED
