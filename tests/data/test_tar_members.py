"""Whatever a tar holds is found as `tar x` would leave it, or counted and named."""

import gzip
import io
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from rats_jax.data.passed_over import JUNK, LINK, REPLACED, SPARSE, SPECIAL, ZEROS, PassedOver
from rats_jax.data.tar_members import list_tars
from tests.data.test_tars import content, write_tar


def listed(path: Path, **options) -> tuple[list[dict[str, bytes]], dict]:
    """The files of each tar in `path` with their bytes; and what was passed over."""
    passed_over, found = PassedOver(), []
    with path.open("rb") as file:
        for files in list_tars(file, passed_over, **options):
            found.append({})
            for name, (offset, size) in files.items():
                file.seek(offset)  # reading between two tars disturbs nothing
                found[-1][name] = file.read(size)
    return found, passed_over.found


def whole(*names: str) -> dict[str, bytes]:
    return {name: content(name) for name in names}


def joined(path: Path, *parts: Path | bytes) -> Path:
    parts = [part if isinstance(part, bytes) else part.read_bytes() for part in parts]
    path.write_bytes(b"".join(parts))
    return path


def add(tar: tarfile.TarFile, name: str, type: bytes, target: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, target
    tar.addfile(info)


def has_gnu_tar() -> bool:
    tar = shutil.which("tar")
    return tar is not None and b"GNU tar" in subprocess.check_output([tar, "--version"])


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    a = write_tar(tmp_path / "a.tar", ["a/1.jpg", "a/2.jpg"])
    return a, write_tar(tmp_path / "b.tar", ["b/1.jpg"], tarfile.PAX_FORMAT)


def test_tars_joined_by_cat_are_all_read(tmp_path, two):
    empty = write_tar(tmp_path / "empty.tar", [])
    found, passed_over = listed(joined(tmp_path / "all.tar", *two, empty, two[0]))
    expected = [whole("a/1.jpg", "a/2.jpg"), whole("b/1.jpg"), whole("a/1.jpg", "a/2.jpg")]
    assert found == expected and not passed_over


def test_zeros_between_two_tars_are_skipped(tmp_path, two):
    a, b = two
    found, passed_over = listed(joined(tmp_path / "all.tar", a, bytes(1 << 19), b, bytes(700)))
    assert len(found) == 2 and not passed_over


def test_many_zeros_are_named_since_members_may_have_been_there(tmp_path, two):
    a, b = two
    found, passed_over = listed(joined(tmp_path / "all.tar", a, bytes(3 << 20), b))
    assert len(found) == 2 and passed_over[ZEROS][0] == 1
    whole = write_tar(tmp_path / "whole.tar", [("1.jpg", b"a"), ("2.jpg", bytes(2 << 20))])
    unfinished = whole.read_bytes()[:1024]  # the rest of the space is there, and empty
    path = joined(tmp_path / "part.tar", unfinished, bytes(whole.stat().st_size - 1024))
    found, passed_over = listed(path)
    assert [list(files) for files in found] == [["1.jpg"]] and passed_over.keys() == {ZEROS}


@pytest.mark.parametrize(
    ("junk", "named"),
    [
        (b"signature" * 100, "900 bytes"),
        (gzip.compress(bytes(range(256)) * 40), "compressed data"),
        (b"\xff" * (2 << 20), "2,097,152 bytes"),
    ],
)
def test_data_after_the_end_is_named_and_a_tar_behind_it_still_read(tmp_path, two, junk, named):
    a, b = two
    found, passed_over = listed(joined(tmp_path / "end.tar", a, junk))
    assert len(found) == 1 and named in passed_over[JUNK][1]
    junk += bytes(-len(junk) % 512)
    found, passed_over = listed(joined(tmp_path / "between.tar", a, junk, b))
    assert [list(files) for files in found] == [["a/1.jpg", "a/2.jpg"], ["b/1.jpg"]]
    assert passed_over.keys() == {JUNK}


@pytest.mark.parametrize("size", [700, 512 + 700, 512 + 1024])  # in the header's data, at its end
def test_a_joined_tar_that_is_cut_short_is_refused(tmp_path, two, size):
    cut = write_tar(tmp_path / "cut.tar", ["c/1.jpg"]).read_bytes()[:size]
    with pytest.raises(
        tarfile.ReadError, match="^is (not a tar|cut short).*; download it again, or pack it again$"
    ):
        listed(joined(tmp_path / "all.tar", *two, cut))


def test_a_damaged_header_in_a_joined_tar_is_refused(tmp_path, two):
    a, b = two
    damaged = bytearray(a.read_bytes())
    damaged[1024 + 512 + 3] ^= 1  # of the second member
    with pytest.raises(tarfile.ReadError, match="damaged at byte "):
        listed(joined(tmp_path / "all.tar", b, bytes(damaged)))


def test_links_stand_for_the_files_they_lead_to(tmp_path):
    path = write_tar(tmp_path / "x.tar", ["blobs/1", "a/2.jpg"])
    with tarfile.open(path, "a") as tar:
        add(tar, "a/hard.jpg", tarfile.LNKTYPE, "a/2.jpg")
        add(tar, "a/soft.jpg", tarfile.SYMTYPE, "../blobs/1")
        add(tar, "b/of_link.jpg", tarfile.SYMTYPE, "../a/soft.jpg")
        add(tar, "b/hard_soft.jpg", tarfile.LNKTYPE, "a/soft.jpg")
        add(tar, "b/out.jpg", tarfile.SYMTYPE, "/data/1.jpg")
        add(tar, "b/gone.jpg", tarfile.LNKTYPE, "a/3.jpg")
        add(tar, "b/circle.jpg", tarfile.SYMTYPE, "circle.jpg")
    (found,), passed_over = listed(path)
    first, second = content("blobs/1"), content("a/2.jpg")
    assert found == {
        **{"blobs/1": first, "a/2.jpg": second, "a/hard.jpg": second, "a/soft.jpg": first},
        **{"b/of_link.jpg": first, "b/hard_soft.jpg": content("blobs/1")},
    }
    assert passed_over[LINK][0] == 3


def test_of_several_members_of_one_name_the_last_counts(tmp_path):
    path = write_tar(tmp_path / "x.tar", ["a/1.jpg", "a/2.jpg"])
    with tarfile.open(path, "a") as tar:  # as tar -r does
        for name, data in (("./a/1.jpg", b"new"), ("a/2.jpg", b"newer")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        add(tar, "a/2.jpg", tarfile.SYMTYPE, "1.jpg")
    (found,), passed_over = listed(path)
    assert found == {"a/1.jpg": b"new", "a/2.jpg": b"new"}
    assert passed_over == {REPLACED: (3, "a/1.jpg")}


def test_the_same_name_in_two_joined_tars_is_two_files(tmp_path, two):
    other = write_tar(tmp_path / "other.tar", [("a/1.jpg", b"other")])
    found, passed_over = listed(joined(tmp_path / "all.tar", two[0], other))
    assert [files["a/1.jpg"] for files in found] == [content("a/1.jpg"), b"other"]
    assert not passed_over


def test_members_without_bytes_of_their_own_are_named(tmp_path):
    path = write_tar(tmp_path / "x.tar", ["a/1.jpg"])
    with tarfile.open(path, "a") as tar:
        add(tar, "a", tarfile.DIRTYPE)
        add(tar, "a/x.jpg", tarfile.DIRTYPE)
        add(tar, "a/queue.jpg", tarfile.FIFOTYPE)
        add(tar, "a/null.jpg", tarfile.CHRTYPE)
    (found,), passed_over = listed(path)
    assert found == whole("a/1.jpg") and passed_over == {SPECIAL: (2, "a/queue.jpg")}


@pytest.mark.processes
@pytest.mark.skipif(not has_gnu_tar(), reason="GNU tar is not installed")
@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_a_sparse_file_is_named_and_not_read_as_other_bytes(tmp_path, format):
    with (tmp_path / "hole.jpg").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    (tmp_path / "z.jpg").write_bytes(b"after it")
    command = ["tar", "--sparse", f"--format={format}", "-cf", "x.tar", "hole.jpg", "z.jpg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (found,), passed_over = listed(tmp_path / "x.tar")
    assert found == {"z.jpg": b"after it"} and passed_over == {SPARSE: (1, "hole.jpg")}


@pytest.mark.processes
@pytest.mark.skipif(not has_gnu_tar(), reason="GNU tar is not installed")
def test_an_incremental_tar_has_the_names_that_were_packed(tmp_path):
    names = ["s/1.jpg", "s/" + "long" * 40 + "/1.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content(name))
    (tmp_path / "s" / "2.jpg").hardlink_to(tmp_path / "s" / "1.jpg")
    command = ["tar", "--listed-incremental=x.snar", "--format=gnu", "-cf", "x.tar", "s"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (found,), passed_over = listed(tmp_path / "x.tar")
    assert found == whole(*names) | {"s/2.jpg": content("s/1.jpg")} and not passed_over


def test_a_header_of_gnu_has_a_time_where_others_have_the_start_of_the_name(tmp_path):
    def tar(format: int, magic: bytes) -> Path:
        path = write_tar(tmp_path / "x.tar", ["s/1.jpg"], format)
        header = bytearray(path.read_bytes()[:512])
        assert header[257:265] == magic
        header[345:357] = b"15303042300\0"
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return joined(path, bytes(header), path.read_bytes()[512:])

    assert listed(tar(tarfile.GNU_FORMAT, b"ustar  \0"))[0] == [whole("s/1.jpg")]
    (found,), _ = listed(tar(tarfile.USTAR_FORMAT, b"ustar\x0000"))
    assert list(found) == ["15303042300/s/1.jpg"]


def test_names_are_relative_however_they_were_packed(tmp_path):
    names = ["./a/1.jpg", "/data/b/2.jpg", ".//c/3.jpg", "../d/4.jpg", "e/./f/../5.jpg"]
    (found,), _ = listed(write_tar(tmp_path / "x.tar", [(name, b"") for name in names]))
    assert list(found) == ["a/1.jpg", "data/b/2.jpg", "c/3.jpg", "d/4.jpg", "e/5.jpg"]


def test_a_tar_within_a_tar_is_listed_in_its_place_and_no_further(tmp_path, two):
    inner = joined(tmp_path / "inner", *two).read_bytes()
    outer = write_tar(tmp_path / "o.tar", [("n1.tar", inner), ("n2.tar", two[1].read_bytes())])
    with outer.open("rb") as file:
        (files,) = list_tars(file, PassedOver())
        found = []
        for offset, size in files.values():
            file.seek(offset)
            found.append([list(each) for each in list_tars(file, PassedOver(), size=size)])
    assert found == [[["a/1.jpg", "a/2.jpg"], ["b/1.jpg"]], [["b/1.jpg"]]]
    cut = two[0].read_bytes()[: 1024 + 512]  # one member, and no end
    outer = write_tar(tmp_path / "o.tar", [("n1.tar", cut), ("n2.tar", two[1].read_bytes())])
    with outer.open("rb") as file:
        file.seek(512)
        with pytest.raises(tarfile.ReadError, match="^is (not a tar|cut short)"):
            list(list_tars(file, PassedOver(), size=len(cut)))


def test_listing_holds_no_header_in_memory(tmp_path):
    path = write_tar(tmp_path / "x.tar", [(f"{i}.jpg", b"") for i in range(3000)])
    with path.open("rb") as file:
        tracemalloc.start()
        try:
            (files,) = list_tars(file, PassedOver())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(files) == 3000 and peak < 500_000  # tarfile keeps 1.3 MB
