"""Every file of evals/tasks is a task of evaluate, with its flags and its words in --help."""

import subprocess
import sys
from pathlib import Path

import pytest

from rats_jax.evals import tasks
from rats_jax.evals.tasks import TASKS


def evaluate(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "rats_jax.evaluate", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.processes
def test_every_file_is_a_task_and_help_tells_of_it():
    files = {file.stem for file in Path(tasks.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(TASKS)
    text = evaluate("--help").stdout
    shown = [line.split()[0].replace("[no]", "") for line in text.splitlines() if "  --" in line]
    for name, task in TASKS.items():
        assert f"With --task={name}" in text and task.__doc__.splitlines()[0] in text
        assert {f"--{flag.name}" for flag in task.FLAGS} <= set(shown)


@pytest.mark.processes
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--task=norms", "--train=x"], "--train belongs to --task=segmentation or knn or linear"),
        (["--task=consistency", "--norm=pre"], "--norm belongs to --task=parts: omit it"),
        (
            ["--task=knn", "--regions=x"],
            "--regions belongs to --task=parts or consistency: omit it",
        ),
        (["--dictionary=x"], "--dictionary belongs to --task=consistency: omit it"),
        (["--task=consistency", "--regions=x"], "--dataset is missing: give the images with"),
        (["--task=linear", "--train=records:/no/such"], "records:/no/such: /no/such does not"),
        (["--task=knn"], "--checkpoint is missing: give a run's workdir, or a file of weights"),
        (["--regions=x"], "--dataset is missing: give the images with part masks, as KIND:PATH"),
    ],
)
def test_the_flags_of_a_task_are_its_own(arguments, message):
    failed = evaluate(*arguments)
    assert failed.returncode == 2 and failed.stderr.startswith(f"error: {message}")
