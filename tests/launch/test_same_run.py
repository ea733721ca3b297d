"""Two processes of four devices train as one process of eight."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.compiled import COMPILE_FAST
from tests.launch.commands import ROOT, communicate

pytestmark = pytest.mark.processes

CONFIG = """
from rats_jax.config import AUTO
from tests.runs.tiny import tiny_config

def get_config():
    config = tiny_config(optimizer__batch_size=16, data__length=160, run__checkpoint_every=3)
    config.model.update(width=32, heads=4)
    config.mesh.update(data=2, fsdp=2, tensor=2)
    config.run.stop_after = 5
    config.dino.teacher_momentum = AUTO
    return config
"""


#: Runs training with flags that only process 1 is given: the arguments before and after "--".
APART = """
import runpy, sys
own = sys.argv.index("--")
theirs = sys.argv[1:own] if "--process=1" in sys.argv else []
sys.argv = ["rats_jax.train", *sys.argv[own + 1 :], *theirs]
runpy.run_module("rats_jax.train", run_name="__main__", alter_sys=True)
"""


def launch(processes: int, *command: str) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "launch/local_processes.py", f"--processes={processes}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": COMPILE_FAST,
    }
    started = subprocess.Popen(
        [*launcher, f"--devices={8 // processes}", "--", sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, error = communicate(started, timeout=300)
    return subprocess.CompletedProcess(command, started.returncode, output, error)


def flags(folder: Path, workdir: Path) -> list[str]:
    config = folder / "config.py"
    config.write_text(CONFIG)
    return [f"--config={config}", f"--workdir={workdir}"]


def train(folder: Path, processes: int) -> Path:
    workdir = folder / f"run-{processes}"
    done = launch(processes, "-m", "rats_jax.train", *flags(folder, workdir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("compiling the training step") == 1  # one of them reports
    return workdir


def test_two_processes_train_as_one(tmp_path):
    from rats_jax.runs.restore import restore

    runs = [train(tmp_path, processes) for processes in (1, 2)]
    logs = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in runs
    ]
    assert [line["step"] for line in logs[1]] == [1, 2, 3, 4, 5]  # one of them writes
    configs = [json.loads((run / "config.json").read_text()) for run in runs]
    assert configs[0]["dino"]["teacher_momentum"] == 0.99  # as both processes have chosen
    assert configs[0] == configs[1] and list(configs[0]["automatic"]) == ["dino.teacher_momentum"]
    for alone, together in zip(*logs, strict=True):
        for name in ("loss", "teacher_entropy", "gradient_norm"):
            np.testing.assert_allclose(alone[name], together[name], rtol=1e-5, err_msg=name)
    alone, together = (restore(run, weights="teacher") for run in runs)
    assert alone.step == together.step == 5
    for name in ("registers", "pos_embed"):
        np.testing.assert_allclose(
            alone.params["backbone"][name], together.params["backbone"][name], rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize(
    ("of_process_1", "message"),
    [
        (
            "--config.optimizer.learning_rate=0.5",
            "process 1: error: config.optimizer.learning_rate is 0.5 here and 0.03 in process 0",
        ),
        ("--workdir={elsewhere}", "elsewhere is not the same directory here as in process 0"),
        ("--config.data.seed=1", "has other images here than in process 0, though as many: give"),
        ("--config.data.length=168", "has 168 images here and 160 in process 0"),
    ],
)
def test_processes_of_different_runs_do_not_train_together(tmp_path, of_process_1, message):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".started").write_text("an older run")
    script = tmp_path / "apart.py"
    script.write_text(APART)
    own = of_process_1.format(elsewhere=elsewhere)
    done = launch(2, str(script), own, "--", *flags(tmp_path, tmp_path / "run"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
