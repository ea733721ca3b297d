"""A run that is interrupted says so in a line and leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import session

ROOT = Path(__file__).parents[2]
CONFIG = """
from tests.runs.tiny import tiny_config

def get_config():
    config = tiny_config(data__workers=2, data__threads=1)
    config.optimizer.epochs = 10_000.0
    return config
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_ctrl_c_ends_training_and_its_workers(tmp_path, ctrl_c):
    (tmp_path / "tiny_run.py").write_text(CONFIG)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "rats_jax.train"),
            *(f"--config={tmp_path / 'tiny_run.py'}", f"--workdir={tmp_path / 'run'}"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if line.startswith("step 3/"):
            break
    assert len(session(process.pid)) >= 3  # with two workers
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.startswith("interrupted; ") and error.count("\n") == 1
    deadline = time.monotonic() + 20
    while session(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
