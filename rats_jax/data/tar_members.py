"""Lists the files that `tar x` would extract from an uncompressed tar, and where they are."""

import os
import posixpath
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from rats_jax.data.passed_over import JUNK, LINK, REPLACED, SPARSE, SPECIAL, ZEROS, PassedOver
from rats_jax.data.signatures import COMPRESSED, ZIP, what_is

BLOCK = tarfile.BLOCKSIZE
CHUNK = 2048 * BLOCK  # bytes read at once in search of another tar
MOST_ZEROS = 2048 * BLOCK  # bytes at the end of a tar; most tars end with 10,240
LINKS = 16  # most links in a chain of links
REMEDY = "download it again, or pack it again"
GNU_MAGIC = b"ustar  \0"
GNU_FOLDER = b"D"  # a folder with a list of its names, in an incremental tar

#: Offset and size of each file by name, in the order of the tar.
Files = dict[str, tuple[int, int]]


def list_tars(
    file: BinaryIO, passed_over: PassedOver, *, size: int | None = None
) -> Iterator[Files]:
    """The files of a tar, and of the tars that follow it in the same file, one tar at a time.

    If tars were joined by `cat`, `tar x` stops after the first. Here all are read, as by
    `tar --ignore-zeros`. A link gives the file it points to. If several members of one tar have
    the same name, the last is used. Names are relative, without `.` and `..`.

    Args:
      file: positioned at the first byte of the tar. The caller may move it between two tars.
      passed_over: receives what is not yielded.
      size: length of the tar in bytes, if it is inside another tar; by default up to the end.

    Yields:
      The files of each tar; offsets are absolute in `file`.

    Raises:
      tarfile.ReadError: not a tar, or one that is compressed, damaged or cut short. The message
        begins with a verb: the caller adds the name of the file.
    """
    start = file.tell()
    end = file.seek(0, os.SEEK_END) if size is None else start + size
    _check_start(file, start)
    while True:
        files, stop = _list_one(file, start, end, passed_over)
        yield files
        start = _find_next(file, stop, end, passed_over)
        if start is None:
            return


def _check_start(file: BinaryIO, start: int) -> None:
    file.seek(start)
    head = file.read(8)
    if head.startswith(COMPRESSED):
        raise tarfile.ReadError(
            "is compressed; unpack it first, with gunzip, unzstd or a similar tool"
        )
    if head.startswith(ZIP):
        raise tarfile.ReadError(
            "is a zip archive; unzip it, and give the folder (in a config with "
            "data.source=image_folder)"
        )
    file.seek(start)


def _list_one(file: BinaryIO, start: int, end: int, passed_over: PassedOver) -> tuple[Files, int]:
    """The files of the tar at `start`, and where its end mark is."""
    members = _Members(passed_over)
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", tarinfo=_Member) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # a million members would need half a gigabyte
                data = member.size if member.isreg() and not member.issparse() else 0
                if member.offset_data + data > end:
                    raise tarfile.ReadError(f"{member.name} is incomplete")
                members.add(member)
            stop = tar.offset
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise tarfile.ReadError(f"is not a tar, or is damaged ({error}); {REMEDY}") from error
    # tarfile treats a header that it does not understand as the end.
    file.seek(stop)
    if stop + BLOCK > end or file.read(BLOCK) != bytes(BLOCK):
        raise tarfile.ReadError(f"is cut short or damaged at byte {stop}; {REMEDY}")
    return members.files(), stop


def _find_next(file: BinaryIO, start: int, end: int, passed_over: PassedOver) -> int | None:
    """The first byte of the next tar at or after `start`; None if there is none. Zeros belong to
    the end of a tar. Too many zeros, and other data before the next header, are counted in
    `passed_over`."""
    first, junk, found, at = b"", 0, None, start
    while at < end and found is None:
        file.seek(at)
        chunk = file.read(min(CHUNK, end - at))
        if not chunk:
            break
        blocks = range(0, len(chunk), BLOCK) if chunk.count(0) < len(chunk) else ()
        for i in blocks:
            block = chunk[i : i + BLOCK]
            if _is_header(block):
                found = at + i
                break
            if block.count(0) < len(block):
                first, junk = first or block, junk + len(block)
        at += len(chunk)
    zeros = (end if found is None else found) - start - junk
    if zeros > MOST_ZEROS:
        passed_over.add(ZEROS, f"{zeros:,} bytes")
    if junk:
        what = what_is(first)
        passed_over.add(JUNK, f"{junk:,} bytes" + (f", {what}" if what else ""))
    return found


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


class _Member(tarfile.TarInfo):
    """A member with the correct name in GNU tars. Where other formats store the start of the name,
    an incremental GNU tar stores times, which `tarfile` would read as part of the name."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        member = super().frombuf(buf, encoding, errors)
        if buf[257:265] == GNU_MAGIC:
            member.name = buf[:100].partition(b"\0")[0].decode(encoding, errors)
        return member


class _Members:
    """Collects the members of one tar."""

    def __init__(self, passed_over: PassedOver):
        self._passed_over = passed_over
        self._files: Files = {}
        self._links: dict[str, str] = {}  # symbolic links: targets by name

    def add(self, member: tarfile.TarInfo) -> None:
        name = _relative(member.name)
        if member.isdir() or member.type == GNU_FOLDER:
            return
        if name in self._files or name in self._links:
            self._passed_over.add(REPLACED, name)
            self._files.pop(name, None)
            self._links.pop(name, None)
        if member.issparse():
            self._passed_over.add(SPARSE, name)
        elif member.isreg():
            self._files[name] = member.offset_data, member.size
        elif member.issym():
            self._links[name] = _relative(posixpath.join(posixpath.dirname(name), member.linkname))
        elif member.islnk():
            self._add_hard_link(name, _relative(member.linkname))
        else:
            self._passed_over.add(SPECIAL, name)

    def _add_hard_link(self, name: str, target: str) -> None:
        for members in (self._files, self._links):
            if target in members:
                members[name] = members[target]
                return
        self._passed_over.add(LINK, name)

    def files(self) -> Files:
        """All files; those reached by symbolic links are last."""
        for name, target in self._links.items():
            for _ in range(LINKS):
                target = self._links.get(target, target)
            if target in self._files:
                self._files[name] = self._files[target]
            else:
                self._passed_over.add(LINK, name)
        return self._files


def _relative(name: str) -> str:
    return posixpath.normpath("/" + name).lstrip("/")
