"""A run that hangs ends, and shows where."""

import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.processes

HANGS = """
import sys, threading, time
from pathlib import Path
from rats_jax.runs.guards.watchdog import Watchdog

def in_a_dead_file_system():
    time.sleep(60)

with Watchdog(Path(sys.argv[1]), seconds=1) as watchdog:
    for _ in range(10):
        time.sleep(.3)
        watchdog.beat()
    print("ten beats", flush=True)
    thread = threading.Thread(target=in_a_dead_file_system)
    thread.start()
    thread.join()
"""


def test_without_a_step_the_stacks_of_all_threads_are_shown_and_the_run_ends(tmp_path):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGS, tmp_path], capture_output=True, text=True, timeout=50
    )
    assert time.monotonic() - start < 50
    assert done.returncode == 75
    assert "ten beats" in done.stdout  # three times as long as it waits
    assert done.stderr.startswith("error: no step for 0.0166667 minutes")
    for told in (done.stderr, (tmp_path / "stacks.txt").read_text()):
        assert "in_a_dead_file_system" in told and "join" in told


def test_a_run_that_ends_in_time_is_let_be(tmp_path):
    ends = HANGS.replace("seconds=1", "seconds=2").split("    thread =")[0] + "time.sleep(3)"
    done = subprocess.run([sys.executable, "-c", ends, tmp_path], capture_output=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "stacks.txt").exists()
