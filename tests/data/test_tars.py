"""Images out of tars as people have them: order, labels, the kept index, damage."""

import gzip
import io
import json
import multiprocessing
import os
import pickle
import random
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from rats_jax.data import tars
from rats_jax.data.tars import Tars
from rats_jax.errors import UserError

LONG = "n1/" + "deep/" * 40 + "long.jpg"


def content(name: str) -> bytes:
    return random.Random(name).randbytes(700 + len(name))


def write_tar(path: Path, members, format=tarfile.GNU_FORMAT) -> Path:
    """A tar of names with made-up bytes, or of (name, bytes)."""
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            name, data = (member, content(member)) if isinstance(member, str) else member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read_all(source) -> list:
    return [source[i] for i in range(len(source))]


def names(source) -> list[str]:
    """The members, without their tars, each checked to be its bytes."""
    found = []
    for i in range(len(source)):
        name = source.files[i].split(".tar/", 1)[1]
        assert source[i][0] == content(name)
        found.append(name)
    return found


def labels(source) -> list[int]:
    return [label for _, label in read_all(source)]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_images_come_as_they_lie_labelled_by_first_level_folder(tmp_path, format):
    members = ["n2/b.JPEG", LONG, "n1/\N{SNOWMAN}.png", "n2/a.webp", "notes.txt", "n2/._a.jpg"]
    source = Tars(write_tar(tmp_path / "x.tar", members + [".git/z.png", "top.jpg"], format))
    assert names(source) == ["n2/b.JPEG", LONG, "n1/\N{SNOWMAN}.png", "n2/a.webp", "top.jpg"]
    assert source.classes == ["", "n1", "n2"] and labels(source) == [2, 1, 1, 2, 0]
    assert source.files[0] == f"{tmp_path}/x.tar/n2/b.JPEG"
    with pytest.raises(IndexError):
        source[5]


def test_a_name_that_is_not_utf8_is_read(tmp_path):
    name = "a/\udcff.jpg"
    assert Tars(write_tar(tmp_path / "x.tar", [(name, b"abc")])).files[0].endswith(f"x.tar/{name}")


def test_the_folders_of_a_tar_of_the_current_folder_are_found(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("./b/1.jpg", b"1"), ("./a/2.jpg", b"2")])
    source = Tars(path)
    assert read_all(source) == [(b"1", 1), (b"2", 0)] and source.classes == ["a", "b"]


def test_members_of_the_same_name_give_the_labels(tmp_path):
    members = ["0.jpg", ("0.cls", b"7\n"), ("1.json", json.dumps({"label": 3}).encode()), "1.jpg"]
    members += ["a/2.x.png", ("a/2.cls", b"4"), "b.v1.jpg", ("b.v1.cls", b"5"), "b.v2.jpg"]
    members += [("b.v2.cls", b"6"), "c.jpg", ("c.cls", b"cat"), ("c.json", b'{"label": "cat"}')]
    source = Tars(write_tar(tmp_path / "x.tar", members))
    assert labels(source) == [7, 3, 4, 5, 6, -1] and source.classes == []


def test_json_without_labels_leaves_the_folders(tmp_path):
    members = ["a/0.jpg", ("a/0.json", b'{"caption": "x"}'), "b/1.jpg", ("b/1.json", b"broken")]
    source = Tars(write_tar(tmp_path / "x.tar", members))
    assert labels(source) == [0, 1] and source.classes == ["a", "b"]


def test_a_folder_a_glob_and_a_pattern_name_the_same_tars(tmp_path):
    folder = tmp_path / "[set]"
    folder.mkdir()
    for number, members in ((10, ["c/3.jpg"]), (8, ["b/1.jpg"]), (9, ["notes.txt"])):
        write_tar(folder / f"in-{number:03d}.tar", members)
    expected = [str(folder / f"in-{number}.tar") for number in ("008", "009", "010")]
    escaped = str(folder).replace("[", "[[]")
    for path in (folder, f"{escaped}/in-*.tar", folder / "in-{008..010}.tar"):
        source = Tars(path)
        assert source.tars == expected
        assert names(source) == ["b/1.jpg", "c/3.jpg"] and labels(source) == [0, 1]
    assert Tars(folder / "in-{010,008}.tar").tars == expected[::-2]
    with pytest.raises(
        UserError, match=r"1 of the 4 tars .* cannot be found, the first is .*in-011.tar;"
    ):
        Tars(folder / "in-{008..011}.tar")


def test_a_path_without_tars_or_images_is_a_users_mistake(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "*.tar"):
        with pytest.raises(UserError, match="matches no tar; give"):
            Tars(path)
    inner = write_tar(tmp_path / "n1.tar", ["1.jpg"]).read_bytes()
    with pytest.raises(UserError, match=r"contains no image; .*rats_jax.prepare"):
        Tars(write_tar(tmp_path / "x.tar", [("n1.tar", inner)]))


def test_compressed_and_foreign_files_are_a_users_mistake(tmp_path):
    path = write_tar(tmp_path / "x.tar", ["1.jpg"])
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(UserError, match=r"x.tar.gz is compressed; unpack it first"):
        Tars(tmp_path / "x.tar.gz")
    path.write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(UserError, match=r"x.tar is not a tar"):
        Tars(path)


def test_a_tar_cut_anywhere_is_a_users_mistake(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", [(f"{i}.jpg", bytes(1000)) for i in range(4)])
    data = whole.read_bytes()
    end = 4 * (512 + 1024)  # of the last member; zeros follow
    for size in (0, 100, 512, 1000, 1536, 1537, 2048, 3000, end - 1, end):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(data[:size])
        with pytest.raises(UserError, match=r"cut.tar is (not a tar|cut short)"):
            Tars(cut)
    damaged = bytearray(data)
    damaged[2 * 1536 + 3] ^= 1  # in the header of the third member
    cut.write_bytes(damaged)
    with pytest.raises(UserError, match=r"cut.tar is cut short or damaged at byte 3072; download"):
        Tars(cut)


def test_the_index_is_kept_and_made_anew_when_the_tar_has_changed(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "x.tar", ["a/1.jpg", "b/2.jpg"])
    first = Tars(path)
    assert sorted(os.listdir(tmp_path)) == ["x.tar", "x.tar.index"]
    with monkeypatch.context() as patched:
        patched.setattr("rats_jax.data.tar_index._make_index", lambda file: 1 / 0)
        again = Tars(path)
    assert read_all(again) == read_all(first) and names(again) == names(first)

    index = tmp_path / "x.tar.index"
    for damage in (b"", b"PK\3\4 garbage", index.read_bytes()[:-300]):
        index.write_bytes(damage)
        assert names(Tars(path)) == ["a/1.jpg", "b/2.jpg"]
    time = path.stat().st_mtime_ns
    write_tar(path, ["a/3.jpg", "b/4.jpg"])
    os.utime(path, ns=(time, time + 1))
    assert names(Tars(path)) == ["a/3.jpg", "b/4.jpg"]


def test_a_folder_that_cannot_be_written_to_keeps_no_index(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "x.tar", ["a/1.jpg"])

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    assert names(Tars(path)) == ["a/1.jpg"] and os.listdir(tmp_path) == ["x.tar"]


@pytest.mark.processes
def test_it_is_read_by_many_threads_and_by_a_spawned_process(tmp_path):
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", [f"{number}/{i}.jpg" for i in range(5)])
    source = Tars(tmp_path)
    expected = read_all(source)
    order = [random.Random(0).randrange(15) for _ in range(2000)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(source.__getitem__, order)) == [expected[i] for i in order]
    with multiprocessing.get_context("spawn").Pool(1) as workers:
        assert workers.apply(read_all, (source,)) == expected


def test_tars_are_opened_when_first_read_and_not_all_kept_open(tmp_path, monkeypatch):
    def opened():
        links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        return sum(os.readlink(link).endswith(".tar") for link in links if os.path.exists(link))

    for number in range(4):
        write_tar(tmp_path / f"{number}.tar", ["a/1.jpg"])
    monkeypatch.setattr(tars, "MAX_OPEN", 3)
    source = Tars(tmp_path)
    assert opened() == 0
    source[2]
    assert opened() == 1
    for _ in range(3):
        assert [image for image, _ in read_all(source)] == [content("a/1.jpg")] * 4
        assert opened() == 3
    copy = pickle.loads(pickle.dumps(source))
    assert opened() == 3
    del source
    assert opened() == 0 and read_all(copy)


def test_a_tar_cut_while_it_is_read_gives_an_error(tmp_path):
    source = Tars(write_tar(tmp_path / "x.tar", ["a/1.jpg", "a/2.jpg"]))
    os.truncate(tmp_path / "x.tar", 2048)
    assert source[0][0] == content("a/1.jpg")
    with pytest.raises(OSError, match="x.tar has been cut short"):
        source[1]


def test_tars_joined_by_cat_are_read_as_if_apart(tmp_path):
    parts = [write_tar(tmp_path / f"{n}.tar", [f"{n}/1.jpg", f"{n}/2.jpg"]) for n in "ab"]
    apart = [Tars(part) for part in parts]
    (tmp_path / "all.tar").write_bytes(b"".join(part.read_bytes() for part in parts))
    for _ in range(2):  # listed, and from the kept index
        source = Tars(tmp_path / "all.tar")
        assert names(source) == [name for each in apart for name in names(each)]
        assert source.classes == ["a", "b"] and not source.notes


def test_each_of_the_joined_tars_has_its_own_labels(tmp_path):
    for n in (1, 2):  # WebDataset shards begin with the same keys
        write_tar(tmp_path / f"{n}.tar", [("0.jpg", bytes([n])), ("0.cls", f"{n}".encode())])
    data = [(tmp_path / f"{n}.tar").read_bytes() for n in (1, 2)]
    (tmp_path / "all.tar").write_bytes(b"".join(data))
    assert read_all(Tars(tmp_path / "all.tar")) == [(b"\1", 1), (b"\2", 2)]


def test_an_index_of_the_old_format_is_not_trusted(tmp_path):
    path = write_tar(tmp_path / "x.tar", ["a/1.jpg"])
    Tars(path)
    with np.load(f"{path}.index") as kept:
        fields = dict(kept)
    half = {name: fields[name] for name in ("offsets", "sizes", "labels", "names", "ends")}
    stat = path.stat()
    path.write_bytes(path.read_bytes() + write_tar(tmp_path / "y", ["a/2.jpg"]).read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    key = np.array([1, path.stat().st_size, stat.st_mtime_ns])  # as it was written before
    with open(f"{path}.index", "wb") as file:
        np.savez(file, key=key, **half)
    assert names(Tars(path)) == ["a/1.jpg", "a/2.jpg"]


def test_what_a_tar_holds_beside_images_is_counted_and_named(tmp_path):
    members = ["a/1.jpg", "a/._1.jpg", "a/2.tif", "a/3.HEIC", "inner.zip", "readme.txt", "a/4.JFIF"]
    for _ in range(2):  # listed, and from the kept index
        source = Tars(write_tar(tmp_path / "x.tar", members))
        assert names(source) == ["a/1.jpg", "a/4.JFIF"]
        (note,) = source.notes
        assert note.startswith(f"warning: skipped in {tmp_path}/x.tar: hidden files: 1 (first")
        assert "neither JPEG, PNG nor WebP (convert them): 2 (first a/2.tif)" in note
        assert "archives" in note and "(first inner.zip)" in note
        assert "other files: 1 (first readme.txt)" in note


def test_files_that_every_data_set_has_are_no_reason_to_warn(tmp_path):
    write_tar(tmp_path / "x.tar", ["a/1.jpg", "readme.txt"])
    write_tar(tmp_path / "y.tar", ["a/1.jpg", ".DS_Store"])
    (note,) = Tars(tmp_path).notes
    assert note == (
        f"skipped in {tmp_path}: other files: 1 (first x.tar/readme.txt); "
        "hidden files: 1 (first y.tar/.DS_Store)"
    )


def test_labels_that_cannot_be_used_are_counted_and_named(tmp_path):
    members = ["0.jpg", ("0.cls", b"7"), "1.jpg", ("1.cls", b"cat"), ("gone.cls", b"3")]
    members += ["2.jpg", ("2.json", b'{"label": "cat"}'), "3.jpg", ("3.json", b"{" * 9999)]
    members += ["4.jpg", ("4.json", b'{"caption": "x"}'), ("5.cls", b"5" * 5000)]
    source = Tars(write_tar(tmp_path / "x.tar", members))
    assert labels(source) == [7, -1, -1, -1, -1]
    passed_over, unlabelled = source.notes
    assert "labels that are not whole numbers from 0 to 2^63: 4 (first 1.cls)" in passed_over
    assert "labels without an image: 1 (first gone.cls)" in passed_over
    assert "other files: 1 (first 4.json)" in passed_over
    assert unlabelled == "warning: 4 of 5 images have no label"


def test_what_is_beside_the_tars_of_a_folder_is_counted_and_named(tmp_path):
    write_tar(tmp_path / "1.TAR", ["a/1.jpg"])
    for name in ("2.tar.gz", "3.zip", "loose.jpg", "sizes.json", "._1.tar", "1.TAR.index"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "val.tar").mkdir()
    source = Tars(tmp_path)
    assert len(source) == 1
    (note,) = source.notes
    for part in ("2 (first 2.tar.gz)", "1 (first loose.jpg)", "1 (first val.tar/)", "(first ._1"):
        assert part in note
    assert "index" not in note


def test_only_files_are_taken_for_tars(tmp_path):
    write_tar(tmp_path / "1.tar", ["a/1.jpg"])
    os.mkfifo(tmp_path / "2.tar")
    os.symlink("gone.tar", tmp_path / "3.tar")
    source = Tars(tmp_path)
    assert len(source.tars) == 1
    (note,) = source.notes
    assert "and other special files: 1 (first 2.tar)" in note
    assert "broken links: 1 (first 3.tar)" in note
    with pytest.raises(UserError, match="^/dev/null is not a file; give an uncompressed .tar$"):
        Tars("/dev/null")


def test_a_glob_does_not_take_the_kept_indices_for_tars(tmp_path):
    write_tar(tmp_path / "in-1.tar", ["a/1.jpg"])
    for _ in range(2):
        assert names(Tars(tmp_path / "in-*")) == ["a/1.jpg"]


def test_globs_in_a_pattern_and_below_are_found(tmp_path):
    for place in ("a/x", "b"):
        (tmp_path / place).mkdir(parents=True)
        write_tar(tmp_path / place / "1.tar", ["a/1.jpg"])
    assert Tars(tmp_path / "**" / "*.tar").tars == Tars(tmp_path / "{a/x,b}" / "*.tar").tars
    with pytest.raises(
        UserError, match=r"1 of the 2 tars of .* cannot be found, the first is .*c/\*.tar;"
    ):
        Tars(tmp_path / "{b,c}" / "*.tar")


def test_a_zip_a_url_and_a_folder_of_other_archives_are_explained(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("a/1.jpg", b"1")
    with pytest.raises(UserError, match="x.zip is a zip archive; unzip it, .*=image_folder"):
        Tars(tmp_path / "x.zip")
    with pytest.raises(UserError, match="matches no tar; .*skipped: archives .*first x.zip"):
        Tars(tmp_path)
    for url in ("s3://bucket/{000..146}.tar", "https://x.org/1.tar", "pipe:curl x"):
        with pytest.raises(UserError, match="is a URL; copy or mount the tars"):
            Tars(url)


def test_a_tar_packed_from_above_says_that_it_is_one_class(tmp_path):
    source = Tars(write_tar(tmp_path / "x.tar", ["set/a/1.jpg", "set/b/2.jpg"]))
    assert source.classes == ["set"]
    (note,) = source.notes
    assert "set/, so its 2 folders count as one class" in note and "from within" in note
    source = Tars(write_tar(tmp_path / "y.tar", ["train/a/1.jpg", "val/b/2.jpg"]))
    assert source.notes == [
        "warning: train/, val/ look like splits: the images of all of them are read"
    ]


def test_a_tar_whose_name_leaves_no_room_for_an_index_is_read(tmp_path):
    path = write_tar(tmp_path / ("x" * 251 + ".tar"), ["a/1.jpg"])
    assert names(Tars(path)) == ["a/1.jpg"] and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("written", ["~/x.tar", "~", "~/*.tar", "~/{x,x}.tar"])
def test_the_home_directory_is_meant_by_a_tilde(tmp_path, monkeypatch, written):
    write_tar(tmp_path / "x.tar", ["a/1.jpg"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Tars(written).tars == [str(tmp_path / "x.tar")]
