"""Two processes are ended by a signal, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rats_jax.errors import INTERRUPTED, SAVED
from tests.compiled import COMPILE_FAST
from tests.launch.commands import ROOT, communicate

pytestmark = pytest.mark.processes

STEPS = 100  # more than are over before the signal comes
CONFIG = """
from tests.runs.tiny import tiny_config

def get_config():
    return tiny_config(optimizer__epochs=20.0)
"""


def start(folder: Path) -> subprocess.Popen:
    (folder / "config.py").write_text(CONFIG)
    launcher = [sys.executable, "launch/local_processes.py", "--processes=2", "--devices=1", "--"]
    flags = [f"--config={folder}/config.py", f"--workdir={folder}/run"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": COMPILE_FAST,
    }
    return subprocess.Popen(
        [*launcher, sys.executable, "-m", "rats_jax.train", *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def reported(folder: Path) -> list[int]:
    """The steps that the run has reported."""
    file = folder / "run" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def saved(folder: Path) -> list[int]:
    checkpoints = folder / "run" / "checkpoints"
    return sorted(int(step.name) for step in checkpoints.iterdir() if step.name.isdecimal())


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, SAVED),
        pytest.param(signal.SIGINT, INTERRUPTED, marks=pytest.mark.slow),
    ],
)
def test_all_processes_save_at_the_same_step_and_the_same_command_goes_on(tmp_path, number, status):
    job, until = start(tmp_path), time.monotonic() + 200
    while not reported(tmp_path) and job.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    job.send_signal(number)
    output, error = communicate(job, timeout=60)
    assert job.returncode == status, output + error
    assert "Traceback" not in error
    [step] = saved(tmp_path)
    assert 1 <= step < STEPS
    assert f"saved at step {step}" in output

    output, error = communicate(job := start(tmp_path), timeout=250)
    assert job.returncode == 0, output + error
    assert f"resuming from the checkpoint at step {step}" in output
    assert reported(tmp_path) == [*range(1, STEPS + 1)]
    assert saved(tmp_path)[-1] == STEPS
