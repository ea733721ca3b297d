"""Fingerprints of data sets: the same wherever the files are, another one for other images."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rats_jax.data.fingerprint import SAMPLED, fingerprint, fingerprint_of_names
from rats_jax.data.records import Records
from rats_jax.data.sources import ImageFolder
from rats_jax.data.tars import Tars
from rats_jax.data.tfds_source import TFDS
from rats_jax.procedural_parts import ProceduralParts
from tests.data.test_tars import write_tar
from tests.data.test_tfds_source import make

NAMES = [f"c{i % 3}/{i:02}.jpg" for i in range(12)]


def folder(path: Path, names=NAMES) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(name.encode())
    return path


def replaced(path: Path) -> None:
    (path / NAMES[5]).rename(path / "c2/other.jpg")


FOLDER_CHANGES = {
    "an image more": lambda path: (path / "c0/new.jpg").write_bytes(b""),
    "an image less": lambda path: (path / NAMES[3]).unlink(),
    "an image replaced": replaced,
    "a folder renamed": lambda path: (path / "c0").rename(path / "c9"),
    "an image of another class": lambda path: (path / NAMES[0]).rename(path / "c1/00.jpg"),
}


@pytest.mark.parametrize("change", FOLDER_CHANGES.values(), ids=FOLDER_CHANGES.keys())
def test_of_a_folder_it_is_of_the_names_and_not_of_the_place(tmp_path, change):
    before = fingerprint(ImageFolder(folder(tmp_path / "a")))
    shutil.move(tmp_path / "a", tmp_path / "b")
    os.utime(tmp_path / "b" / NAMES[0], (1, 1))
    (tmp_path / "b" / "notes.txt").write_text("no image")
    assert fingerprint(ImageFolder(tmp_path / "b")) == before
    change(tmp_path / "b")
    assert fingerprint(ImageFolder(tmp_path / "b")) != before


def test_of_tars_it_is_of_the_members_however_they_are_split(tmp_path):
    for name in ("one", "two", "size", "order", "other"):
        (tmp_path / name).mkdir()
    write_tar(tmp_path / "one/all.tar", NAMES)
    write_tar(tmp_path / "two/0.tar", NAMES[:5])
    write_tar(tmp_path / "two/1.tar", NAMES[5:])
    write_tar(tmp_path / "size/0.tar", [*NAMES[:-1], (NAMES[-1], b"of another size")])
    write_tar(tmp_path / "order/0.tar", [*NAMES[5:], *NAMES[:5]])
    write_tar(tmp_path / "other/0.tar", [*NAMES[:-1], "c2/other.jpg"])
    one, two, *others = (
        fingerprint(Tars(tmp_path / name)) for name in ("one", "two", "size", "order", "other")
    )
    assert one == two and len({one, *others}) == 4


def test_of_records_it_is_of_what_the_shards_hold(tmp_path):
    def written(place: str, **shard) -> str:
        path = tmp_path / place
        path.mkdir()
        (path / shard["file"]).write_bytes(bytes(shard["bytes"]))
        manifest = {"format": 1, "images": 3, "classes": [], "shards": [{"images": 3, **shard}]}
        (path / "manifest.json").write_text(json.dumps(manifest))
        return fingerprint(Records(path))

    a = written("a", file="x.array_record", bytes=9, sha256="1")
    assert written("b", file="y.array_record", bytes=9, sha256="1") == a
    assert written("c", file="x.array_record", bytes=9, sha256="2") != a


def test_of_tfds_it_is_of_the_version_and_the_split(tmp_path):
    for place, version in (("a", "2.0.1"), ("b", "2.0.1"), ("b", "2.0.2")):
        make(tmp_path / place, f"pets/{version}")
    one = fingerprint(TFDS("pets", "train", tmp_path / "a"))
    assert fingerprint(TFDS("pets:2.0.1", "train", tmp_path / "b")) == one
    assert fingerprint(TFDS("pets:2.0.2", "train", tmp_path / "b")) != one
    assert fingerprint(TFDS("pets", "train[1:]", tmp_path / "a")) != one


def test_of_drawings_it_is_of_their_world_and_size():
    def of(**changes) -> str:
        return fingerprint(ProceduralParts(**{"size": 32, "length": 9, "seed": 3} | changes))

    assert of() == of() and len({of(), of(seed=4), of(size=40), of(length=3)}) == 4
    assert fingerprint(ProceduralParts(size=8, length=1)) is not None


def test_of_drawings_the_last_digit_does_not_count(monkeypatch):
    sample = ProceduralParts.sample
    source = ProceduralParts(size=64, length=9)
    before = source.fingerprint()

    def rounded_otherwise(self, index):
        image, parts, label = sample(self, index)
        image[5, 7, 1] ^= 1
        return image, parts, label

    monkeypatch.setattr(ProceduralParts, "sample", rounded_otherwise)
    assert source.fingerprint() == before
    monkeypatch.setattr(
        ProceduralParts,
        "sample",
        lambda self, i: (np.minimum(sample(self, i)[0], 127), *sample(self, i)[1:]),
    )
    assert source.fingerprint() != before


class Own:
    """A source of one's own, with what it may have."""

    def __init__(self, length: int, **attributes):
        self._length = length
        self.__dict__ |= attributes

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        return np.zeros((8, 8, 3), np.uint8), 0


class Lazy:
    """Names that are read one by one; it neither knows how many there are, nor where they end."""

    def __init__(self, prefix: str = ""):
        self.prefix, self.asked = prefix, 0

    def __getitem__(self, i):
        self.asked += 1
        if self.prefix == "broken":
            raise OSError("no disk")
        return f"{self.prefix}{i}.png"


def test_of_a_source_of_ones_own():
    names = ["a.png", "b.png", "c.png"]
    assert fingerprint(Own(3)) is None and fingerprint(Own(3, files=None)) is None
    assert fingerprint(Own(3, files=names)) == fingerprint_of_names(names)
    assert fingerprint(Own(3, files=tuple(names))) == fingerprint(Own(3, files=np.array(names)))
    assert fingerprint(Own(3, files=names)) != fingerprint(Own(3, files=names[::-1]))
    assert fingerprint(Own(3, files=names, fingerprint=lambda: "mine")) == "mine"
    lazy = Lazy()
    assert fingerprint(Own(10**7, files=lazy)) != fingerprint(Own(10**7, files=Lazy("other")))
    assert lazy.asked == SAMPLED
    assert fingerprint(Own(3, files=Lazy())) == fingerprint_of_names(["0.png", "1.png", "2.png"])
    assert fingerprint(Own(3, files=Lazy("broken"))) is None


def test_any_name_has_one():
    odd = ["\udce9.jpg", "\ud800.jpg", "a\nb.jpg", "", "日本.jpg"]
    assert len({fingerprint_of_names([name]) for name in odd}) == len(odd)
    assert fingerprint_of_names(["ab", "c"]) != fingerprint_of_names(["a", "bc"])
