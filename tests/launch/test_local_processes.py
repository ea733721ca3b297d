"""Several processes on one machine, by one command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rats_jax.errors import SAVED
from tests.processes import session

pytestmark = pytest.mark.processes

LAUNCHER = Path(__file__).parents[2] / "launch" / "local_processes.py"


def launch(*arguments: str, program: str, group: bool = False) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, LAUNCHER, *arguments, "--", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0 if group else None,
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


#: Ends as training does, and lets each signal be counted.
SAVES = """
import signal, sys, time
heard = []
for number in (signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, _: heard.append(number))
print("ready", flush=True)
while not heard: time.sleep(0.01)
time.sleep(0.5)
print("heard", *(signal.Signals(number).name for number in heard), flush=True)
sys.exit(130 if signal.SIGINT in heard else 85)
"""


def wait_until_ready(process: subprocess.Popen) -> None:
    for _ in range(2):
        assert "ready" in process.stdout.readline()


@pytest.mark.parametrize(
    ("sent", "passed_on", "status"),
    [
        (signal.SIGINT, "SIGINT", 130),
        (signal.SIGTERM, "SIGTERM", SAVED),
        (signal.SIGHUP, "SIGTERM", SAVED),  # the terminal has gone
    ],
)
def test_a_signal_is_passed_on_once_and_all_have_time_to_save(ctrl_c, sent, passed_on, status):
    process = launch("--processes=2", "--devices=1", program=SAVES, group=True)
    wait_until_ready(process)
    os.killpg(process.pid, sent)  # as a terminal does: to the launcher, and who is in its group
    output, error = process.communicate(timeout=60)
    assert sorted(output.splitlines()) == [f"[{i}] heard {passed_on}" for i in range(2)]
    assert (process.returncode, error) == (status, "")


def test_a_second_sigterm_takes_no_time_from_saving():
    process = launch("--processes=2", "--devices=1", program=SAVES)
    wait_until_ready(process)
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    assert process.wait(timeout=60) == SAVED


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_a_second_ctrl_c_ends_all_at_once():
    program = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)  # hard of hearing
print("pid", os.getpid(), flush=True)
time.sleep(1000)
"""
    process = launch("--processes=2", "--devices=1", program=program)
    started = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=8)
    assert process.returncode == 130
    assert not any(session(pid) for pid in started)


def test_the_end_of_the_terminal_takes_no_time_from_saving(ctrl_c):
    program = SAVES.replace('print("heard"', 'print("much\\n" * 100_000); print("heard"')
    process = launch("--processes=2", "--devices=1", program=program)
    wait_until_ready(process)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == SAVED


def test_a_command_that_is_not_there_is_a_mistake():
    process = subprocess.run(
        [sys.executable, LAUNCHER, "--processes=2", "--devices=1", "--", "no-such-command"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 2
    assert process.stderr == "error: no-such-command: No such file or directory\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_processes_hear_what_a_shell_has_set_aside_for_the_launcher(number):
    # As of a job in the background, but not one of nohup, which these tests may be.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    try:
        process = launch("--processes=2", "--devices=1", program=SAVES)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    wait_until_ready(process)
    process.send_signal(number)
    assert process.wait(timeout=60) == (130 if number == signal.SIGINT else SAVED)
