"""A run that is told to end saves its state, says so in a line and leaves no process behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import session

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
CONFIG = """
from tests.runs.tiny import tiny_config

def get_config():
    config = tiny_config(data__workers=2, data__threads=1)
    config.optimizer.epochs = 10_000.0
    return config
"""


# Hears signals, in a main thread that does not return to Python's own handlers.
DEAF = """
import sys, threading
from rats_jax import command_line
from rats_jax.runs.guards.stop import Stop

command_line._running = True
with Stop() as stop:
    print("listens", flush=True)
    if "saves" in sys.argv:
        stop.now_there_is_something_to_save()
        print("saves", flush=True)
    threading.Event().wait(50)
"""


@pytest.fixture
def start(tmp_path):
    """start() -> a training with two workers, in a session of its own, at its third step."""
    started = []

    def start() -> subprocess.Popen:
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
        started.append(process)
        for line in process.stdout:
            if line.startswith("step 3/"):
                break
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 85)])
def test_a_signal_ends_training_saved_and_its_workers(tmp_path, ctrl_c, start, number, status):
    process = start()
    assert len(session(process.pid)) >= 3  # with two workers
    os.killpg(process.pid, number)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (status, "")
    saved = int(re.search(r"^saved at step (\d+): run the same command again", output, re.M)[1])
    assert ["3", *re.findall(r"^step (\d+)/", output, re.M)][-1] == str(saved)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [str(saved)]
    event = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])
    assert (event["event"], event["step"], event["status"]) == ("stopped", saved, status)
    deadline = time.monotonic() + 20
    while session(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_saves_also_where_it_ends_who_reads_the_output(tmp_path, ctrl_c, start):
    """As `train | tee log` does."""
    process = start()
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    event = json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])
    saved = [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()]
    assert (event["event"], saved) == ("stopped", [str(event["step"])])


@pytest.fixture
def deaf():
    """deaf(*arguments) -> a process that listens to signals, which have to come while it sleeps."""
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", DEAF, *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        for _ in ("listens", *arguments):
            started[-1].stdout.readline()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 85), (signal.SIGHUP, 85)]
)
def test_a_signal_before_there_is_something_to_save_ends_at_once(ctrl_c, deaf, number, status):
    process = deaf()
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == status
    assert error == f"{number.name} before the first step: there was nothing to save\n"


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not(ctrl_c, deaf):
    process = deaf("saves")
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        time.sleep(0.3)
    assert process.stdout.readline().startswith(
        "SIGTERM: the run ends after this step and saves its state"
    )
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error == "interrupted; run the same command again to resume from the last checkpoint\n"
