"""Whatever breaks, the pipeline says so, and leaves no thread or process behind."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from rats_jax.data import pool
from rats_jax.data.device import device_batches
from rats_jax.data.pipeline import open_batches
from rats_jax.data.worker import Buffers, Fill, Task
from rats_jax.errors import UserError
from tests.data.test_pipeline import SAMPLES, Numbered, assert_same, batches
from tests.data.test_pipeline import reference as reference


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.processes)])
def test_a_fault_of_the_source_appears_with_its_traceback_in_its_batch(reference, workers):
    failing = reference[2]["index"][3]
    with open_batches(
        Numbered(failing=failing),
        samples=SAMPLES,
        seed=3,
        batch_size=8,
        start_step=0,
        workers=workers,
        threads=1,
    ) as stream:
        for expected in reference[:2]:
            assert_same([next(stream)], [expected])
        with pytest.raises((KeyError, RuntimeError), match="a fault of the source") as error:
            next(stream)
    assert workers == 0 or "__getitem__" in str(error.value)


@pytest.mark.processes
def test_a_dead_worker_is_noticed_and_named():
    before = set(multiprocessing.active_children())
    with open_batches(
        Numbered(), samples=SAMPLES, seed=3, batch_size=8, start_step=0, workers=2, threads=1
    ) as stream:
        next(stream)
        workers = set(multiprocessing.active_children()) - before
        assert len(workers) == 2
        victim = workers.pop()
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(
            UserError, match=f"process {victim.pid}.* SIGKILL, which the kernel .*out: lower"
        ):
            for _ in range(20):
                next(stream)
    assert not set(multiprocessing.active_children()) - before


@pytest.mark.processes
def test_a_worker_that_cannot_start_is_noticed():
    with (
        pytest.raises(UserError, match="ended with status 1; its own message, if "),
        open_batches(
            Unloadable(), samples=SAMPLES, seed=3, batch_size=8, start_step=0, workers=1, threads=1
        ) as stream,
    ):
        next(stream)


@pytest.mark.processes
def test_a_source_that_cannot_be_sent_is_a_users_mistake():
    source = Numbered()
    source.read = lambda: None
    with pytest.raises(
        UserError, match="cannot be sent to the worker processes .*open files, locks or local"
    ):
        batches(1, source, workers=1)


class Exhausted(Numbered):
    """A source on a machine that has run out of file handles."""

    def __getitem__(self, index):
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_shortage_of_the_system_is_not_taken_for_a_bad_image():
    with pytest.raises(UserError, match=r"image \d+: Too many open files; .*ulimit -n"):
        batches(1, Exhausted())


class TooLarge(Numbered):
    def __getitem__(self, index):
        raise MemoryError


def test_an_image_for_which_there_is_no_memory_is_named():
    with pytest.raises(UserError, match="^image 0: not enough memory to read it; lower config"):
        Fill(
            TooLarge(), SAMPLES, Buffers(1, 1, SAMPLES.fields, shared=False), np.zeros(2, np.uint64)
        )(Task(0, 0, [0], [0]))


class Stuck(Numbered):
    """A source that hangs, as a dead file system does."""

    def __getitem__(self, index):
        time.sleep(1000)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.processes)])
def test_a_source_that_hangs_does_not_keep_the_pipeline_from_closing(monkeypatch, workers):
    monkeypatch.setattr(pool, "CLOSE_SECONDS", 0.2)
    stream = open_batches(
        Stuck(), samples=SAMPLES, seed=0, batch_size=8, start_step=0, workers=workers, threads=1
    )
    ready = device_batches(stream, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    time.sleep(0.5)
    start = time.monotonic()
    ready.close()
    assert time.monotonic() - start < 30
    assert not any(thread.name == "device-batches" for thread in threading.enumerate())


class Unloadable(Numbered):
    """A source that another process cannot take up."""

    def __setstate__(self, state):
        raise ValueError("not here")


def test_close_ends_the_threads():
    before = set(threading.enumerate())
    batches(2, threads=3)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
        assert not thread.is_alive()


STREAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_pipeline import SAMPLES, Numbered
from rats_jax.data.worker import Buffers, Fill, Task
from rats_jax.data.pipeline import open_batches
if __name__ == "__main__":
    stream = open_batches(
        Numbered(), samples=SAMPLES, seed=0, batch_size=8, start_step=0, workers=1, threads=1
    )
    next(stream)
    import multiprocessing
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(600)
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_workers_outlive_signals_to_the_group_but_not_their_parent(tmp_path):
    (tmp_path / "stream.py").write_text(STREAM)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "stream.py", Path(__file__).parent],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    worker = int(parent.stdout.readline())
    for sent in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker, sent)
    time.sleep(0.5)
    assert running(worker)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(worker)
