"""python -m rats_jax.plan, as a person runs it."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[1]
CONFIG = "from tests.runs.tiny import tiny_config as get_config\n"


@pytest.fixture
def plan(tmp_path):
    """Runs it, with a tiny config unless told another; returns the finished process."""
    tiny = tmp_path / "tiny.py"
    tiny.write_text(CONFIG)
    left_out = ("XLA_FLAGS", "JAX_PLATFORMS")
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: str, config: str = str(tiny)) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "rats_jax.plan", f"--config={config}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    return run


def test_eight_fake_devices_are_planned_for_and_json_alone_is_printed(plan, tmp_path):
    done = plan("--topology=cpu:8", "--config.mesh.fsdp=2", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["mesh"] == {"data": 4, "fsdp": 2, "tensor": 1}
    assert figures["chips"] == 8 and figures["fits"] and figures["speed"] is None
    assert {"all-gather"} < {row["kind"] for row in figures["collectives"]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--topology=v5e:3x5",), "known are"),
        (("--topology=cpu:8", "--config.mesh.fsdp=3"), "config.mesh"),
        (("--topology=cpu:8", "--json=nowhere/plan.json"), "there is no folder nowhere"),
        (("--topology=cpu:8", "--json=~/nowhere/plan.json"), f"no folder {Path.home()}/nowhere"),
        (("--topology=cpu:8", "--json=configs"), "configs is a folder: name a file in it"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_compiled(plan, arguments, told):
    done = plan(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and told in done.stderr


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--config.optimizer.batch_size=0", "config.optimizer.batch_size"),
        ("--config.optimizer.batch_size=-2", "config.optimizer.batch_size"),
        ("--config.model.patch=0", "config.model.patch"),
        ("--config.model.heads=0", "config.model.heads"),
        ("--config.compute_dtype=foo", "config.compute_dtype"),
        ("--config.model.remat=foo", "config.model.remat"),
    ],
)
def test_a_wrong_value_is_one_line_before_other_values_are_chosen_automatically(plan, flag, told):
    done = plan("--topology=rtx4090", "--images=10000", flag, config="image_folder")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"{told} " in done.stderr and "data set" not in done.stderr


def test_json_has_what_was_chosen_automatically(plan):
    done = plan("--topology=rtx4090", "--images=20000", "--json", config="image_folder")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    chosen = {choice["field"]: choice for choice in figures["automatic"]}
    assert chosen["optimizer.batch_size"]["value"] == figures["batch"]["global"]
    assert chosen["model.remat"]["value"] == figures["remat"]
    assert all(set(x) == {"field", "value", "reason"} and x["reason"] for x in chosen.values())


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed")
def test_a_tpu_that_is_not_there_is_planned_for(plan, tmp_path):
    file = tmp_path / "plan.json"
    done = plan("--topology=v5e:2x2", f"--json={file}")
    assert done.returncode == 0, done.stderr
    assert "fits: 0." in done.stdout and "head-room" in done.stdout and "MFU" in done.stdout
    assert not done.stderr
    figures = json.loads(file.read_text())
    assert figures["xla_estimated_cycles"] > 0 and figures["speed"]["days"] > 0


@pytest.mark.skipif(bool(importlib.util.find_spec("libtpu")), reason="libtpu is installed")
def test_without_libtpu_a_tpu_is_refused_with_the_remedy(plan):
    done = plan("--topology=v5e:8x8")
    assert done.returncode == 2
    assert "pip install -r requirements-tpu.txt" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_gpu_that_is_not_there_is_counted_by_hand(plan):
    done = plan("--topology=rtx4090:2", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["by_hand"] and figures["mesh"]["data"] == 2
    assert figures["automatic"] == []
    assert figures["memory"]["peak"] < figures["memory"]["capacity"]
    assert figures["speed"]["realistic"]["days"][1] > figures["speed"]["days"]


def test_what_is_advised_is_a_command_that_fits(plan):
    done = plan("--topology=rtx4090", config="rats_b16_in1k")
    assert done.returncode == 1, done.stderr
    assert "1 GPU, 1 host" in done.stdout and "in 1 micro-batch of" in done.stdout
    told, command = done.stdout.rstrip().splitlines()[-2:]
    assert "`rats train` takes the same fields" in told
    name, _, config, *flags = shlex.split(command)
    assert name == "rats" and config == "--config=rats_b16_in1k"
    again = plan(*flags, config="rats_b16_in1k")
    assert again.returncode == 0 and "micro-batches of" in again.stdout
