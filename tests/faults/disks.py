"""Disks that are full, and such as cannot be written to."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults import judge
from tests.faults.bench import STEPS, Bench, Skipped, Verdict, fault

MB = 2**20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 16 MB in memory."""
    if os.geteuid() != 0:
        raise Skipped("only root may mount a small disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={16 * MB}", "faults", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise Skipped("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, but: int) -> Path:
    """A file that takes all of the disk but so many bytes."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        for _ in range(100):
            with suppress(OSError):  # the run has written since the question
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - but)
                return filler
            file.truncate(0)
    raise OSError(f"{disk} cannot be filled")


def _full(bench: Bench, verdict: Verdict, disk: Path, *, but: int, flags=()) -> None:
    """The disk fills up some steps after a start; later there is room again."""
    workdir = disk / "run"
    shutil.copytree(bench.half(disk.name + "-half"), workdir)
    before = judge.complete(workdir)
    with bench.start(workdir, *flags, faults=("pace:0.05",)) as run:
        run.must_say(f"step {STEPS // 2 + 2}/")
        filler = fill(disk, but=but)
        end = run.end()
    verdict.ended(end, 2, says="No space left on device")
    verdict.see(end.error.splitlines()[0].replace(str(bench.folder), "") if end.error else "")
    verdict.see(f"it ended after step {end.steps[-1]}")
    verdict.check(end.steps[-1] < STEPS // 2 + 10, "it went on")
    verdict.check(judge.complete(workdir) == before, f"checkpoints {judge.complete(workdir)}")
    with bench.start(workdir, *flags) as run:  # as long as there is no room, it says so
        verdict.ended(run.end(), 2, says="No space left on device")
    verdict.check(judge.complete(workdir) == before, f"checkpoints {judge.complete(workdir)}")
    filler.unlink()
    again = bench.finish(verdict, workdir)
    verdict.check(again.from_step == before[-1], f"went on from {again.from_step}")
    verdict.lose(end.steps[-1] - again.from_step)
    verdict.same(workdir, bench.reference())


@fault("full disk, save", "the disk fills up but for 100 KB; a checkpoint takes 500")
def full_for_checkpoints(bench: Bench, verdict: Verdict) -> None:
    with small_disk(bench.folder / "small-1") as disk:
        _full(bench, verdict, disk, but=100_000)


@fault("full disk, metrics", "the disk fills up to the last byte, while no save is due")
def full_for_metrics(bench: Bench, verdict: Verdict) -> None:
    with small_disk(bench.folder / "small-2") as disk:
        _full(bench, verdict, disk, but=0, flags=("--config.run.checkpoint_every=100",))


@fault("read-only workdir", "a new run, and one that has a checkpoint, on a read-only disk")
def read_only(bench: Bench, verdict: Verdict) -> None:
    bench.half("to-be-read")
    if os.geteuid() != 0:  # whom permissions do not bind
        for name in ("new", "to-be-read"):
            (bench.folder / name).mkdir(exist_ok=True)
            (bench.folder / name).chmod(0o555)
        _refused(bench, verdict, bench.folder)
        (bench.folder / "to-be-read").chmod(0o755)
    else:
        with small_disk(bench.folder / "read-only") as disk:
            shutil.copytree(bench.folder / "to-be-read", disk / "to-be-read")
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            _refused(bench, verdict, disk)
    bench.finish(verdict, bench.folder / "to-be-read")
    verdict.same(bench.folder / "to-be-read", bench.reference())


def _refused(bench: Bench, verdict: Verdict, folder: Path) -> None:
    for name in ("new", "to-be-read"):
        with bench.start(folder / name) as run:
            end = run.end()
        verdict.ended(end, 2, says="--workdir")
        verdict.see(end.error.strip().replace(str(folder), "..."))
