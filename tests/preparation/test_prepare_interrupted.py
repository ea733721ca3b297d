"""Nothing is lost, hidden or made twice on the way to shards and from them, whatever is killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rats_jax.data.crops import MultiCrop
from rats_jax.data.pipeline import open_batches
from rats_jax.data.records import Records
from rats_jax.data.samples import FastCrops
from rats_jax.data.sources import ImageFolder
from rats_jax.preparation import shards
from rats_jax.preparation.run import prepare
from tests.preparation.conftest import SHARD_MB, content, shard_files
from tests.processes import session

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
CROPS = MultiCrop(
    global_size=16, local_size=8, local_crops=2, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)


def entries(output: Path) -> dict[Path, tuple[int, int]]:
    """The shards that have been finished, with what a rewriting would change."""
    found = {}
    for path in output.glob(f"*/{shards.STATE}/*.array_record.json"):
        shard = path.parents[1] / path.stem
        found[shard] = shard.stat().st_ino, shard.stat().st_mtime_ns
    return found


def start(source: Path, output: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "rats_jax.prepare", f"--input={source}", f"--output={output}"]
    gives_way = ["nice", "-n", "19"]  # to the test, which must see it in the middle of its work
    return subprocess.Popen(
        [*gives_way, *command, "--workers=2", f"--shard_mb={SHARD_MB}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_shards(process: subprocess.Popen, output: Path, count: int) -> None:
    while len(entries(output)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def assert_session_ends(leader: int) -> None:
    deadline = time.monotonic() + 20
    while living := session(leader):
        assert time.monotonic() < deadline, living
        time.sleep(0.02)


def test_killed_four_ways_it_ends_as_if_uninterrupted(fake, uninterrupted, tmp_path, ctrl_c):
    output = tmp_path / "out"
    rng = np.random.default_rng()

    def interrupt(shards_first: int, kill) -> tuple[subprocess.Popen, str, str]:
        before = entries(output)
        process = start(fake[0], output)
        wait_for_shards(process, output, len(before) + shards_first)
        time.sleep(rng.uniform(0, 0.03))
        kill(process.pid)
        out, error = process.communicate(timeout=30)
        assert_session_ends(process.pid)
        assert entries(output).items() >= before.items(), "a finished shard was written again"
        assert not (output / "val" / "manifest.json").exists()
        return process, out, error

    def kill_a_worker(pid: int) -> None:
        workers = [p for p, command in session(pid).items() if "spawn_main" in command]
        os.kill(workers[0], signal.SIGKILL)

    interrupt(2, lambda pid: os.killpg(pid, signal.SIGKILL))
    # The workers notice that the parent is gone.
    interrupt(2, lambda pid: os.kill(pid, signal.SIGKILL))
    process, _, error = interrupt(2, kill_a_worker)
    assert process.returncode == 2 and "was killed by SIGKILL, which the kernel" in error
    process, _, error = interrupt(2, lambda pid: os.killpg(pid, signal.SIGINT))
    assert process.returncode == 130 and error.startswith("interrupted; ")
    assert error.count("\n") == 1
    assert not list(output.rglob(f"*{shards.UNFINISHED}"))

    before = entries(output)
    assert len(before) >= 8
    process = start(fake[0], output)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert f"--config.data.source=records --config.data.path={output / 'train'}" in out
    assert entries(output).items() >= before.items()
    assert content(output) == content(uninterrupted)


def test_damaged_and_missing_shards_are_named_and_made_anew(uninterrupted, fake, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(uninterrupted, output)
    before = content(output)
    flipped, cut, missing, *others = shard_files(output)
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    os.truncate(cut, 1000)
    missing.unlink()
    untouched = {path: path.stat().st_ino for path in others}

    prepare(fake[0], output, workers=2, shard_mb=SHARD_MB, shorter_side=0)
    said = capsys.readouterr().out
    assert re.search(f"{flipped} is damaged", said)
    assert re.search(f"{cut} is missing or too short", said)
    assert re.search(f"{missing} is missing or too short", said)
    assert content(output) == before
    assert {path: path.stat().st_ino for path in others} == untouched

    prepare(fake[0], output, workers=2, shard_mb=SHARD_MB, shorter_side=0)
    said = capsys.readouterr().out
    assert "is damaged" not in said and ", 0 written again" in said


def three_epochs(source, **options) -> tuple[Counter, dict[int, str], list[int]]:
    """How often each image is shown, what could not be read, and a checksum of every batch."""
    shown, unreadable, checksums = Counter(), {}, []
    left = 3 * len(source)
    with open_batches(
        source, samples=FastCrops(CROPS), seed=1, batch_size=50, start_step=0, threads=1, **options
    ) as stream:
        while left > 0:
            batch = next(stream)
            shown.update(batch["index"][:left].tolist())
            unreadable |= batch["unreadable"]
            checksums.append(hash(batch["global"].tobytes() + batch["local"].tobytes()))
            left -= 50
    return shown, unreadable, checksums


def test_three_epochs_of_the_shards_show_every_readable_image_thrice(fake, uninterrupted):
    source = Records(uninterrupted / "train")
    shown, unreadable, _ = three_epochs(source, workers=2)
    assert not unreadable
    assert [source.files[i] for i in sorted(shown)] == fake[1]["train"]["readable"]
    assert set(shown.values()) == {3}


def test_three_epochs_of_the_raw_files_hide_nothing(fake):
    facts, source = fake[1]["train"], ImageFolder(fake[0] / "train")
    shown, unreadable, checksums = three_epochs(source, workers=0)
    named = {source.files[i]: reason for i, reason in unreadable.items()}
    assert sorted(named) == facts["unreadable"] and all(named.values())
    assert sorted(source.files[i] for i in shown) == facts["readable"]
    assert shown.total() == 3 * len(source) and min(shown.values()) == 3
    # A bad image's place goes to the same neighbour every time, whoever reads it.
    assert three_epochs(source, workers=2) == (shown, unreadable, checksums)
