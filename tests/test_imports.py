"""Importing the package changes nothing for others, since it may be a small part of a program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Prints the other modules that ours import. Those named in the input are imported before: what they
# change is not our doing.
PROGRAM = r"""
import faulthandler, importlib, json, logging, os, pkgutil, signal, sys, warnings

import rats_jax

def state():
    names = ["rats_jax", "absl", "asyncio", *logging.root.manager.loggerDict]
    return {
        **{
            f"logger {name}": (x.level, x.handlers[:], x.filters[:], x.propagate, x.disabled)
            for name in (None, *names)
            for x in (logging.getLogger(name),)
        },
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "warnings": (warnings.filters[:], warnings.showwarning),
        "faulthandler": faulthandler.is_enabled(),
        "streams": (sys.stdout, sys.stderr),
        "environment": dict(os.environ),
    }

found = pkgutil.walk_packages(rats_jax.__path__, "rats_jax.", onerror=lambda _: None)
# Commands run, or define the same flags; files/ is copied into exports, and needs PyTorch or timm;
# mask2former needs PyTorch.
commands = "train finetune prepare evaluate dictionary visualize export reproduce plan demo".split()
modules = [
    m.name
    for m in found
    if m.name.removeprefix("rats_jax.") not in commands
    and not m.name.endswith("__main__")
    and ".torch_export.files" not in m.name
    and ".finetuning.mask2former" not in m.name
]
assert len(modules) > 150, modules
others = json.loads(sys.stdin.read())
for name in others:
    try:
        importlib.import_module(name)
    except ImportError:  # made by another module
        pass
before = state()
for name in modules:
    importlib.import_module(name)
    after = state() if others else before
    for what in before:
        assert after[what] == before[what], f"{name}: {what}: {before[what]} -> {after[what]}"
print(json.dumps([name for name in sys.modules if not name.startswith("rats_jax")]))
"""


def imported(others: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(others),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.processes
def test_importing_every_module_changes_no_logger_hook_signal_warning_or_other_module():
    others = imported([])
    assert "jax" in others and "orbax.checkpoint" in others
    assert set(imported(others)) == set(others)


@pytest.mark.processes
def test_what_only_scores_and_pictures_need_is_not_imported_to_open_a_backbone():
    """Each of these takes up to a second to import."""
    code = "import sys, rats_jax.backbones; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert loaded.returncode == 0, loaded.stderr
    slow = {"scipy.optimize", "scipy.sparse", "skimage", "matplotlib", "tensorboardX"}
    assert not slow & set(loaded.stdout.split())
