"""Two processes of four devices train as one process of eight."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
CONFIG = """
from tests.runs.tiny import tiny_config

def get_config():
    config = tiny_config(optimizer__batch_size=16, data__length=160, run__checkpoint_every=3)
    config.model.update(width=32, heads=4)
    config.mesh.update(data=2, fsdp=2, tensor=2)
    config.run.stop_after = 5
    return config
"""


def train(folder: Path, processes: int) -> Path:
    config, workdir = folder / "config.py", folder / f"run-{processes}"
    config.write_text(CONFIG)
    launcher = [sys.executable, "launch/local_processes.py"]
    command = [sys.executable, "-m", "rats_jax.train", f"--config={config}", f"--workdir={workdir}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [*launcher, f"--processes={processes}", f"--devices={8 // processes}", "--", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
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
    for alone, together in zip(*logs, strict=True):
        for name in ("loss", "teacher_entropy", "gradient_norm"):
            np.testing.assert_allclose(alone[name], together[name], rtol=1e-5, err_msg=name)
    alone, together = (restore(run, weights="teacher") for run in runs)
    assert alone.step == together.step == 5
    for name in ("registers", "pos_embed"):
        np.testing.assert_allclose(
            alone.params["backbone"][name], together.params["backbone"][name], rtol=1e-5, atol=1e-7
        )
