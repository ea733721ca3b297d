"""Runs that are interrupted, resumed and divided over processes repeat the run without it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rats_jax.errors import SAVED
from tests.processes import ROOT

pytestmark = pytest.mark.processes

TIMES = ("time", "images_per_second", "input_wait", "seconds_left")


def start(*arguments: object, launcher: tuple = ()) -> subprocess.CompletedProcess:
    script = ["-m", "tests.finetuning.mask2former.tiny", *map(str, arguments)]
    return subprocess.run(
        [sys.executable, *launcher, *script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def lines(workdir: Path) -> list[dict]:
    """The metrics without times."""
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(row).items() if k not in TIMES} for row in rows]


def sums(workdir: Path, step: int) -> list[str]:
    """The digests of model and optimizer."""
    return (workdir / f"checkpoints/{step}/SHA256SUMS").read_text().splitlines()[:2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("whole") / "run"
    done = start(workdir)
    assert done.returncode == 0, done.stderr
    return workdir


def test_a_run_writes_what_it_promises(whole):
    rows = lines(whole)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["step"] for row in rows if "semantic/miou" in row] == [4, 8]
    assert (whole / "export/about.txt").exists()
    assert list((whole / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("number", "status"), [("SIGTERM", SAVED), ("SIGINT", 130), ("SIGKILL", -9)]
)
def test_an_interrupted_run_repeats_the_same_losses(whole, tmp_path, number, status, ctrl_c):
    workdir = tmp_path / "run"
    first = start(workdir, number, 5)
    assert first.returncode == status, first.stdout + first.stderr
    saved = {"SIGKILL": 4}.get(number, 5)
    assert (workdir / f"checkpoints/{saved}").is_dir()
    again = start(workdir)
    assert again.returncode == 0, again.stderr
    assert f"resuming from the checkpoint at step {saved}" in again.stdout
    assert lines(workdir) == lines(whole)
    assert sums(workdir, 8) == sums(whole, 8)


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def assert_close(workdir: Path, whole: Path) -> None:
    """Everything but times and rounding is the same."""
    ours, theirs = lines(workdir), lines(whole)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_two_processes_have_the_losses_of_one_also_after_a_signal_to_one(whole, tmp_path):
    workdir = tmp_path / "run"
    first = start(workdir, "SIGTERM", 5, 1, launcher=TWO)
    assert "batch 4 on 2 x cpu" in first.stdout, first.stderr
    assert "saved at step 5: run the same command again" in first.stdout, first.stderr
    again = start(workdir, launcher=TWO)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("step 8/8") == 1
    assert_close(workdir, whole)


@pytest.mark.slow
def test_a_run_of_two_processes_continues_with_one(whole, tmp_path):
    workdir = tmp_path / "run"
    start(workdir, "SIGTERM", 3, 0, launcher=TWO)
    again = start(workdir)
    assert "warning: 2 processes became 1: other random points" in again.stdout
    assert_close(workdir, whole)
