"""launch/slurm.sbatch, with an srun, an scancel and an scontrol that only record."""

import os
import re
import signal
import subprocess
import time

import pytest

from rats_jax.errors import LOST, SAVED
from tests.launch.commands import CONFIG, LAUNCH, calls, check_shell, program, training

SCRIPT = LAUNCH / "slurm.sbatch"
REQUEUE = ["requeue", "Incomplete", "42"]  # not a job that was cancelled a moment before
#: An srun whose tasks take half a second to save, once they are told to by scancel.
SAVES = "until [[ -e ${0%/*}/scancel.calls ]]; do sleep 0.05; done; sleep 0.5; exit 85"
#: Options of sbatch(1), and what their values look like. No account, partition or constraint: those
#: are a site's own.
OPTIONS = {
    "job-name": r"\w+",
    "nodes": r"\d+",
    "gpus-per-node": r"\d+",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "mem": r"0",
    "time": r"\d+:\d\d:\d\d",
    "output": r"%x-%j\.log",
    "requeue": r"",
    "open-mode": r"append",
    "signal": r"B:USR1@\d+",
}


def directives() -> dict[str, str]:
    lines = SCRIPT.read_text().splitlines()
    # sbatch reads no further than the first command.
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    found = [line for line in lines if line.startswith("#SBATCH")]
    assert found == [line for line in lines[:end] if line.startswith("#SBATCH")]
    pairs = [re.fullmatch(r"#SBATCH --([a-z-]+)=?(\S*)", line).groups() for line in found]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.fixture
def cluster(tmp_path):
    """A folder with a virtual environment, and the programs that the script calls."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    program(tmp_path / ".venv/bin", "python")
    program(tmp_path, "srun", 'eval "$SRUN"')
    program(tmp_path, "scancel")
    program(tmp_path, "scontrol")
    return tmp_path


def start(cluster, *arguments, srun="exit 0", seconds=0) -> subprocess.Popen:
    """The script as SLURM runs it; `seconds`: how long it has been running."""
    environment = os.environ | {
        "PATH": f"{cluster}:{os.environ['PATH']}",
        "SRUN": srun,
        "SECONDS": str(seconds),
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": directives()["cpus-per-task"],
    }
    return subprocess.Popen(
        ["bash", SCRIPT, *arguments],
        cwd=cluster,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.processes
def test_the_script_is_sound_shell():
    check_shell(SCRIPT)


def test_every_directive_is_one_of_sbatch():
    assert SCRIPT.read_text().startswith("#!/bin/bash\n")
    found = directives()
    assert found.keys() == OPTIONS.keys()
    for option, value in found.items():
        assert re.fullmatch(OPTIONS[option], value), option


def test_there_is_a_process_for_each_gpu():
    found = directives()
    assert found["ntasks-per-node"] == found["gpus-per-node"]


@pytest.mark.processes
def test_training_gets_the_arguments_and_a_data_worker_for_each_core(cluster):
    job = start(cluster, CONFIG, "--workdir=/shared/a b", "--config.data.path=/shared/images")
    job.communicate(timeout=60)
    assert job.returncode == 0
    [command] = calls(cluster, "srun")
    options = command[: command.index(".venv/bin/python")]
    cores = directives()["cpus-per-task"]
    assert all(option.startswith("--") for option in options)
    assert f"--cpus-per-task={cores}" in options
    flags = training(command)
    assert flags["workdir"] == "/shared/a b"
    assert flags["config"]["data"]["workers"] == int(cores)
    assert calls(cluster, "scontrol") == []


@pytest.mark.processes
def test_the_number_of_data_workers_can_be_given(cluster):
    start(cluster, CONFIG, "--config.data.workers=3").communicate(timeout=60)
    [command] = calls(cluster, "srun")
    assert training(command)["config"]["data"]["workers"] == 3


@pytest.mark.processes
@pytest.mark.parametrize(
    ("status", "seconds", "requeued"),
    [
        (SAVED, 700, True),
        (SAVED, 5, True),
        (LOST, 700, True),  # a process was lost, or hung
        (137, 700, True),  # one was killed
        (143, 700, True),
        (LOST, 300, False),  # at the start: it would happen again
        (137, 300, False),
        (130, 700, False),  # interrupted
        (2, 700, False),  # a user's mistake
        (1, 700, False),
        (0, 700, False),
    ],
)
def test_a_saved_or_lost_run_is_started_again_and_a_mistake_is_not(
    cluster, status, seconds, requeued
):
    job = start(cluster, CONFIG, srun=f"exit {status}", seconds=seconds)
    job.communicate(timeout=60)
    assert calls(cluster, "scontrol") == ([REQUEUE] if requeued else [])
    assert job.returncode == (0 if requeued else status)


def tell(cluster, job: subprocess.Popen, number: signal.Signals) -> None:
    """Sends the script a signal, once its tasks run."""
    while not calls(cluster, "srun"):
        time.sleep(0.05)
    time.sleep(0.2)  # bash is then at `wait`
    job.send_signal(number)


@pytest.mark.processes
def test_the_run_is_saved_and_requeued_when_the_time_is_nearly_over(cluster):
    job = start(cluster, CONFIG, srun=SAVES)
    tell(cluster, job, signal.SIGUSR1)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    # Not SIGTERM to srun, which would kill its tasks.
    assert calls(cluster, "scancel") == [["--signal=TERM", "42.0"]]
    assert calls(cluster, "scontrol") == [REQUEUE]
    assert "ended with status 85: requeued" in output


@pytest.mark.processes
def test_a_run_that_cannot_save_is_requeued_before_its_time_is_over(cluster):
    program(cluster, "sleep")  # four minutes in no time
    program(cluster, "scontrol", "kill $(<${0%/*}/pid)")  # as SLURM does
    job = start(cluster, CONFIG, srun="echo $$ >${0%/*}/pid; exec tail -f /dev/null")
    tell(cluster, job, signal.SIGUSR1)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    assert len(calls(cluster, "sleep")) == 240
    assert calls(cluster, "scontrol") == [REQUEUE]
    assert "not saved within four minutes" in output


@pytest.mark.processes
def test_a_job_that_slurm_ends_saves_and_is_not_requeued(cluster):
    job = start(cluster, CONFIG, srun=SAVES)
    for _ in range(3):  # as at the end of the time
        tell(cluster, job, signal.SIGTERM)
    (cluster / "scancel.calls").touch()
    job.communicate(timeout=60)
    assert job.returncode == SAVED
    assert calls(cluster, "scontrol") == []


def test_there_is_time_to_save():
    # The script waits for four minutes of them.
    assert int(directives()["signal"].partition("@")[2]) >= 300


@pytest.mark.processes
def test_without_an_environment_one_line_says_so(cluster):
    (cluster / ".venv/bin/python").unlink()
    job = start(cluster, CONFIG)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 2
    assert output.startswith("error: no .venv/bin/python") and output.count("\n") == 1
    assert calls(cluster, "srun") == []
