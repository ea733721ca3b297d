"""Paths that documentation named before version 0.2.0 lead to what moved."""

import subprocess
import sys

import pytest

from rats_jax import procedural_parts
from rats_jax.data import procedural_parts as earlier
from rats_jax.evals.datasets import open_dataset
from rats_jax.parts import datasets


def test_the_earlier_paths_have_the_same_objects():
    assert open_dataset is datasets.open_dataset
    assert {"ProceduralParts", "render"} <= set(earlier.__all__)
    assert all(getattr(earlier, x) is getattr(procedural_parts, x) for x in earlier.__all__)


@pytest.mark.processes
def test_the_earlier_command_draws(tmp_path):
    command = [sys.executable, "-m", "rats_jax.data.procedural_parts", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "--count" in done.stdout, done.stderr
