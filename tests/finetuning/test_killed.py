"""Fine-tuning in JAX that is killed, asked to stop, or spread over processes: the same figures."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rats_jax.errors import SAVED
from tests.compiled import COMPILE_FAST
from tests.finetuning.tiny import metrics, saved, tiny_options, write_weights
from tests.processes import ROOT

pytestmark = pytest.mark.processes

STEPS = 6


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "rats", tiny_options())


def start(weights: Path, workdir: Path, *flags: str, devices: int = 1, processes: int = 1):
    """The command, in as many processes."""
    command = [sys.executable, "-m", "rats_jax.finetune", "--config=tests/finetuning/tiny.py"]
    command += [f"--checkpoint={weights}", f"--workdir={workdir}", *flags]
    if processes > 1:
        launcher = ROOT / "launch" / "local_processes.py"
        places = [f"--processes={processes}", f"--devices={devices}"]
        command = [sys.executable, str(launcher), *places, "--", *command]
    count = f"--xla_force_host_platform_device_count={devices}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{count if processes == 1 else ''} {COMPILE_FAST}",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return output


def read_until(process: subprocess.Popen, text: str) -> None:
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(process.stderr.read())


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, weights) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "whole"
    finish(start(weights, workdir))
    return workdir


def test_killed_and_stopped_and_started_again_it_is_the_same_run(weights, whole_run, tmp_path):
    workdir = tmp_path / "run"
    killed = start(weights, workdir)
    read_until(killed, f"step 3/{STEPS}")
    killed.kill()
    killed.wait()
    stopped = start(weights, workdir)
    read_until(stopped, f"step 4/{STEPS}")
    stopped.send_signal(signal.SIGTERM)
    output, error = stopped.communicate(timeout=600)
    assert stopped.returncode == SAVED, error
    assert "the run ends after this step and saves its state" in output
    assert "run the same command again to continue" in output + error
    finish(start(weights, workdir))
    assert metrics(workdir) == metrics(whole_run)
    assert saved(workdir, STEPS) == saved(whole_run, STEPS)


def test_two_processes_on_a_mesh_train_and_score_as_one(weights, whole_run, tmp_path):
    workdir = tmp_path / "run"
    flags = ["--config.mesh.data=2", "--config.mesh.fsdp=2"]
    finish(start(weights, workdir, *flags, devices=2, processes=2))
    ours, theirs = metrics(workdir), metrics(whole_run)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for name in ("loss", "class_loss", "mask_loss", "dice_loss", "gradient_norm"):
        values = [[row[name] for row in rows] for rows in (ours, theirs)]
        np.testing.assert_allclose(*values, rtol=2e-3, err_msg=name)
    np.testing.assert_allclose(ours[0]["loss"], theirs[0]["loss"], rtol=1e-5)
    for row, other in zip(ours, theirs, strict=True):
        if "semantic/aacc" in row:
            assert row["semantic/aacc"] == pytest.approx(other["semantic/aacc"], abs=0.01)
            assert row["evaluation/left_out"] == 0
