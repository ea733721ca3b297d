"""Several processes on one machine, by one command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import session

LAUNCHER = Path(__file__).parents[2] / "launch" / "local_processes.py"


def launch(*arguments: str, program: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, LAUNCHER, *arguments, "--", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")},
    )


def test_each_process_is_told_its_place_and_its_devices():
    program = (
        "import os, sys; print(sys.argv[1:], os.environ['XLA_FLAGS']); print('no end', end='')"
    )
    process = launch("--processes=3", "--devices=4", program=program)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    lines = sorted(line for line in output.splitlines() if "no end" not in line)
    assert output.count("] no end\n") == 3
    coordinator = lines[0].split("'")[1]
    assert coordinator.startswith("--coordinator=127.0.0.1:")
    assert lines == [
        f"[{i}] ['{coordinator}', '--processes=3', '--process={i}'] "
        "--xla_force_host_platform_device_count=4"
        for i in range(3)
    ]


def test_one_that_fails_ends_all_and_gives_the_status(tmp_path):
    # Process 1 fails; process 0 would run for ever, and does not hear of it.
    program = f"""
import os, sys, time
if "--process=1" in sys.argv:
    while not os.path.exists({str(tmp_path / "pid")!r}): time.sleep(0.01)
    sys.exit("no luck")
open({str(tmp_path / "new")!r}, "w").write(str(os.getpid()))
os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "pid")!r})
time.sleep(1000)
"""
    process = launch("--processes=2", "--devices=1", program=program)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == "[1] no luck\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_process_that_is_killed_counts_as_failed():
    process = launch("--processes=1", "--devices=1", program="import os; os.kill(os.getpid(), 9)")
    process.communicate(timeout=60)
    assert process.returncode == 137


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_reaches_every_process(ctrl_c, with_signal):
    program = """
import os, time
try:
    print("pid", os.getpid(), flush=True)
    time.sleep(1000)
except KeyboardInterrupt:
    print("heard", flush=True)
"""
    process = launch("--processes=2", "--devices=1", program=program)
    started = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
    process.send_signal(with_signal)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert sorted(output.split()) == ["[0]", "[1]", "heard", "heard"]
    deadline = time.monotonic() + 10
    while any(session(pid) for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_command_that_is_not_there_is_a_mistake():
    process = subprocess.run(
        [sys.executable, LAUNCHER, "--processes=2", "--devices=1", "--", "no-such-command"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 2
    assert process.stderr == "error: no-such-command: No such file or directory\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_also_where_a_shell_has_set_ctrl_c_aside(tmp_path, number):
    program = f"""
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)  # hard of hearing
with open({str(tmp_path)!r} + "/" + str(os.getpid()), "w"): pass
time.sleep(1000)
"""
    # As of a job in the background, but not one of nohup, which these tests may be.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    try:
        process = launch("--processes=2", "--devices=1", program=program)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    try:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        process.send_signal(number)
        time.sleep(1)
        process.send_signal(number)  # again: at once
        _, error = process.communicate(timeout=8)
    finally:
        process.kill()
    assert (process.returncode, error) == (130, "")
    for file in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name), 0)
