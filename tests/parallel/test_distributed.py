"""Several processes over loopback: they meet within a time, end together, and say why in a line."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
# Joins, sums ones over the devices of all; then works until it is killed, as the test says.
PROGRAM = """
import time
from absl import flags
from rats_jax import command_line, train, voice
from rats_jax.errors import UserError

THEN = flags.DEFINE_string("then", "end", "")

def main():
    from rats_jax.parallel.distributed import agree, joined

    with joined(
        coordinator=train.COORDINATOR.value,
        processes=train.PROCESSES.value,
        process=train.PROCESS.value,
        wait=train.WAIT.value,
    ):
        import jax
        import numpy as np
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        mesh = Mesh(np.array(jax.devices()), "data")
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        ones = jax.make_array_from_process_local_data(sharding, np.ones(2, np.float32))
        total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, PartitionSpec()))
        voice.say(f"processes {jax.process_count()}")
        print(f"sum {total(ones)}", flush=True)
        if THEN.value == "mistake" and jax.process_index() == 1:
            raise UserError("no such data set")
        if THEN.value == "bug" and jax.process_index() == 1:
            raise ZeroDivisionError
        for turn in range(3 if THEN.value == "agree" else 0):
            if jax.process_index() == turn % 2:
                time.sleep(0.5)
            came = time.monotonic()
            word = agree(f"{jax.process_index()}, {turn}")
            print(f"agreed on {word} after {time.monotonic() - came:.1f} s", flush=True)
        while THEN.value == "collectives":
            float(total(ones))
        while THEN.value in ("python", "mistake", "bug"):
            sum(range(10_000))
        if jax.process_index() == 0:
            time.sleep(1)  # the other waits
    print("left", flush=True)

if __name__ == "__main__":
    command_line.run(main, out_of_memory="")
"""


@pytest.fixture
def start(tmp_path):
    """start(process, processes=2, *flags) -> Popen; what still runs is killed at the end."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []

    def start(process: int, *flags: str, processes: int = 2) -> subprocess.Popen:
        place = [f"--coordinator={address}", f"--processes={processes}", f"--process={process}"]
        started.append(
            subprocess.Popen(
                [sys.executable, program, *place, *flags],
                env={
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
                    "PYTHONPATH": str(ROOT),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen, *, within: float = 120) -> tuple[int, str, list[str]]:
    """Exit status, output and the lines of standard error."""
    output, error = process.communicate(timeout=within)
    return process.returncode, output, error.splitlines()


def test_processes_see_the_devices_of_all_and_end_together(start):
    (first, output, _), (second, silent, _) = map(heard, [start(0), start(1)])
    assert (first, second) == (0, 0)
    assert "processes 2" in output and "sum 4.0" in output and "left" in output
    assert "2 processes: " in output
    assert output.splitlines()[1:] == ["processes 2", "sum 4.0", "left"], "nothing of gloo's"
    # Only process 0 reports.
    assert "sum 4.0" in silent and "left" in silent
    assert "processes 2" not in silent and "2 processes" not in silent


def test_processes_wait_for_each_other_and_take_the_word_of_process_0(start):
    outputs = [p.communicate(timeout=60)[0] for p in [start(i, "--then=agree") for i in range(2)]]
    for output in outputs:
        assert re.findall("agreed on (.*?) after", output) == ["0, 0", "0, 1", "0, 2"]
    waits = [[float(x) for x in re.findall(r"after ([\d.]+) s", output)] for output in outputs]
    assert max(waits[1][0], waits[0][1], waits[1][2]) > 0.3  # who came first has waited


def test_a_process_that_does_not_come_is_named_within_the_time(start):
    waiting = [start(i, "--wait=10", processes=4) for i in (0, 2)]
    began = time.monotonic()
    for i, process in zip((0, 2), waiting, strict=True):
        status, _, error = heard(process)
        assert status == 75
        assert len(error) == 1, error
        assert error[0].startswith(f"process {i}: error: 2 of 4 processes joined at 127.0.0.1:")
        assert "within 10 s, but not process 1, 3: " in error[0]
    assert time.monotonic() - began < 37


def test_process_0_that_does_not_come_is_told_within_the_time(start):
    status, _, error = heard(start(1, "--wait=2"))
    assert status == 75
    assert len(error) == 1, error
    assert re.match(
        r"process 1: error: process 1 did not reach process 0 at 127\S+ within 2 s \(Conn", error[0]
    )


def test_a_port_in_use_is_a_mistake(start):
    process = start(0)
    port = int(process.args[2].rpartition(":")[2])
    process.kill()
    with socket.create_server(("", port)):
        status, _, error = heard(start(0))
    assert status == 2
    assert len(error) == 1 and f"cannot listen on port {port} (Address already in use" in error[0]


def test_a_stranger_at_the_port_is_turned_away(start):
    first = start(0)
    port = int(first.args[2].rpartition(":")[2])
    for _ in range(900):
        try:
            stranger = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    with stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(1) == b""
    second = start(1)
    assert [heard(first)[0], heard(second)[0]] == [0, 0]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([(0, 2), (1, 3)], "was started as one of 3, but process 0 as one of 2"),
        ([(0, 3), (1, 3), (1, 3)], "joined, but there is already a process with this number"),
    ],
)
def test_processes_that_do_not_fit_together_are_a_mistake(start, places, message):
    processes = [start(process, processes=total) for process, total in places]
    for status, _, error in map(heard, processes):
        assert status == 2
        assert len(error) == 1 and message in error[0], error


@pytest.mark.parametrize("work", ["collectives", "python"])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_other_with_a_line(start, victim, work):
    processes = [start(i, f"--then={work}") for i in range(2)]
    for process in processes:
        while not process.stdout.readline().startswith("sum"):
            assert process.poll() is None
    processes[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    status, _, error = heard(processes[1 - victim])
    assert time.monotonic() - began < 60
    assert status == 75, error
    # JAX may have spoken before, when its service ended with process 0.
    assert error[-1].startswith(f"process {1 - victim}: error: process {victim} ")
    assert "was lost; see its output" in error[-1]
    assert victim == 0 or len(error) == 1


@pytest.mark.parametrize(
    ("then", "expected", "message"),
    [("mistake", 2, "process 1: no such data set"), ("bug", 1, "process 1 failed: ZeroDivision")],
)
def test_a_process_that_fails_ends_the_other_with_its_status(start, then, expected, message):
    processes = [start(i, f"--then={then}") for i in range(2)]
    (first, _, told), (second, _, own) = map(heard, processes)
    assert (first, second) == (expected, expected)
    assert len(told) == 1 and told[0].startswith(f"process 0: error: {message}")
    if then == "mistake":
        assert own == ["process 1: error: no such data set"]
    else:
        assert own[-1] == "ZeroDivisionError"


def test_sigterm_ends_a_process(start):
    processes = [start(i, "--then=python") for i in range(2)]
    for process in processes:
        while not process.stdout.readline().startswith("sum"):
            assert process.poll() is None
    processes[1].terminate()
    assert heard(processes[1])[0] == -signal.SIGTERM
    assert heard(processes[0])[0] == 75
