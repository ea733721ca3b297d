"""Devices that are missing or too small end a command with one line that says what to change."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.device_failures import TRAIN_SMALLER, explained
from rats_jax.errors import UserError
from rats_jax.runs import loop
from rats_jax.runs.loop import train
from tests.runs.tiny import tiny_config

ROOT = Path(__file__).parents[1]
HUGE = (10**6, 10**6)  # 4 TB


def on_the_device():
    jnp.zeros(HUGE).block_until_ready()


def in_a_program():
    # the program is small, what it needs when it runs is not
    outer = jax.jit(lambda x: jnp.cumsum(x[:, None] * x[None, :], axis=0)[::-1].copy())
    outer(jnp.zeros(HUGE[0])).block_until_ready()


def on_the_host():
    np.ones(HUGE)


@pytest.mark.parametrize("work", [on_the_device, in_a_program, on_the_host])
def test_too_little_memory_is_told_with_what_to_change(work):
    with pytest.raises(UserError) as raised, explained("take less"):
        work()
    assert re.match(r"out of memory on .*(GiB|TiB).*: take less", str(raised.value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libjax.so: failed to map segment from shared object"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_a_limited_address_space_is_one_line(error):
    line = "^out of memory on this machine.*: take less$"
    with pytest.raises(UserError, match=line), explained("take less"):
        raise error
    for other in (OSError(errno.ENOENT, "no"), RuntimeError("thread"), ImportError("no jax")):
        with pytest.raises(type(other)), explained("take less"):
            raise other


class JaxRuntimeError(RuntimeError):
    """As other devices raise it: recognised by its name."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 68719476736 bytes.\nBuffer",
            "(an allocation of 64.00 GiB failed)",
        ),
        (
            "RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate 16.00G. "
            "That was not possible. There are 3.00G free.; (0x0x0_HBM0)",
            "(an allocation of 16.00GiB failed)",
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in hbm",
            "device:",
        ),
    ],
)
def test_too_little_memory_of_gpus_and_tpus(text, expected):
    with pytest.raises(UserError) as raised, explained("take less"):
        raise JaxRuntimeError(text)
    assert expected in str(raised.value) and "take less" in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        JaxRuntimeError("RESOURCE_EXHAUSTED: received message larger than max (9 vs. 4)"),
        JaxRuntimeError("INVALID_ARGUMENT: memory"),
        ValueError("RESOURCE_EXHAUSTED: Out of memory"),
        AssertionError(),
        RuntimeError("something else"),
        UserError("a user's mistake"),
    ],
    ids=repr,
)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as raised, explained("take less"):
        raise error
    assert raised.value is error


CALLS = "\n".join(
    [
        "import sys, jax, jax.numpy as jnp",
        "from rats_jax.device_failures import explained",
        "from rats_jax.errors import UserError",
        "for call in (jax.devices, jax.default_backend, lambda: jnp.zeros(3), jax.process_count,",
        "    lambda: jax.jit(lambda x: x)(1), lambda: jax.random.key(0)):",
        "    try:",
        "        with explained('x'):",
        "            call()",
        "    except UserError as error:",
        "        print(error)",
    ]
)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("platform", "reason"), [("cuda", ""), ("tpu", "'tpu'"), ("nonsense", "'nonsense'")]
)
def test_a_platform_that_is_not_there(platform, reason):
    asked = {"JAX_PLATFORMS": platform, "CUDA_VISIBLE_DEVICES": ""}
    environment = os.environ | asked | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CALLS], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and all(reason in line for line in lines)
    for line in lines:
        assert line.startswith(f"JAX cannot start on JAX_PLATFORMS={platform}")
        assert "unset JAX_PLATFORMS" in line


def test_a_training_that_does_not_fit_is_one_line(tmp_path, monkeypatch):
    too_large = tiny_config(head__prototypes=2 * 10**9, head__bottleneck=2000)  # 16 TB
    too_large.guards.collapse = "off"
    with pytest.raises(UserError, match=r"a training step needs about [\d,.]+ GiB .* by estimate"):
        train(too_large, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(loop, "least_memory", lambda: None)  # not known: found when it is tried
    with pytest.raises(UserError) as raised, explained(TRAIN_SMALLER):
        train(too_large, str(tmp_path / "run"))
    assert re.match("out of memory on the device.*config.optimizer.batch_size", str(raised.value))
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.processes
@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_command_without_its_platform_is_one_line_and_status_2(command, tmp_path):
    arguments = ["--config=configs/demo.py"]
    if command == "train":
        arguments.append(f"--workdir={tmp_path}/run")
    done = subprocess.run(
        [sys.executable, "-m", f"rats_jax.{command}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "nonsense"},
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: JAX cannot start on JAX_PLATFORMS=nonsense")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
