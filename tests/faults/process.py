"""A start of the victim: followed, hit, and what it left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.compiled import COMPILE_FAST
from tests.processes import session

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds, for a machine with other work


class Ended(NamedTuple):
    status: int  # negative: the signal
    lines: list[str]  # of standard output
    error: str  # standard error
    seconds: float  # from the start

    @property
    def steps(self) -> list[int]:
        """The steps that it reported."""
        return [int(found[1]) for x in self.lines if (found := re.match(r"step (\d+)/", x))]

    @property
    def from_step(self) -> int | None:
        """The step that it went on from; None if it took none."""
        return self.steps[0] - 1 if self.steps else None


class Run:
    """python -m rats_jax.train on `workdir`, with faults; several processes are several of these.

    Attributes:
      started: by time.monotonic().
    """

    def __init__(
        self,
        workdir: Path,
        *flags: str,
        cache: Path,
        faults: tuple[str, ...] = (),
        devices: int = 1,
        config: str = "tests/faults/config.py",
    ):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {COMPILE_FAST}",
            # Everything is kept: a start of the victim is as fast as it can be.
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "VICTIM_CACHE": str(cache),
        }
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.victim"),
                *(f"--config={config}", f"--workdir={workdir}"),
                *(f"--fault={fault}" for fault in faults),
                *flags,
            ],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._heard = 0  # of them, by who waits for one
        self._error: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in (
                (self._process.stdout, self._lines),
                (self._process.stderr, self._error),
            )
        ]
        for reader in self._readers:
            reader.start()

    def says(self, prefix: str) -> bool:
        """Waits for the next line of the report that begins so; False if it ends without one."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with self._news:
                while self._heard < len(self._lines):
                    self._heard += 1
                    if self._lines[self._heard - 1].startswith(prefix):
                        return True
                if not self._readers[0].is_alive():
                    return False
                self._news.wait(0.1)
        raise AssertionError(f"it never said {prefix!r}: {self._lines[-3:]}")

    def must_say(self, prefix: str) -> None:
        """As `says`; AssertionError, with what it said last, if it ends without one."""
        assert self.says(prefix), f"ended before {prefix!r}: {''.join(self._error)[-300:]}"

    def lives(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals, *, to_all: bool = False) -> None:
        """to_all: also to the processes that it has started, as a terminal and SLURM do."""
        if not self.lives():
            return
        if to_all:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def end(self, timeout: float = PATIENCE) -> Ended:
        """Waits for its end, and that of every process it started."""
        try:
            self._process.wait(timeout)
            seconds = time.monotonic() - self.started
            until = time.monotonic() + 20
            while left := session(self._process.pid):
                assert time.monotonic() < until, f"processes are left over: {left}"
                time.sleep(0.02)
            for reader in self._readers:
                reader.join()
        finally:
            for pid in session(self._process.pid):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()
        return Ended(self._process.returncode, self._lines, "".join(self._error), seconds)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception) -> None:
        self._process.kill()
        self.end()

    def _read(self, stream, to: list[str]) -> None:
        for line in stream:
            with self._news:
                to.append(line)
                self._news.notify_all()


def flags_of_several(count: int) -> list[list[str]]:
    """The flags by which so many processes train together."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    together = [f"--coordinator=127.0.0.1:{port}", f"--processes={count}", "--wait=120"]
    return [[*together, f"--process={i}"] for i in range(count)]
