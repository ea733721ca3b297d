"""What several tests of runs start from."""

from pathlib import Path

import pytest

from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from tests.runs.checkpoints.checkpoints import save
from tests.runs.programs_once import programs_once


@pytest.fixture
def workdir(tmp_path) -> Path:
    """Of a run with checkpoints at steps 10, 20 and 30."""
    with Checkpoints(tmp_path, keep=3) as checkpoints:
        for step in (10, 20, 30):
            save(checkpoints, step)
    return tmp_path


@pytest.fixture(scope="module")
def same_programs():
    """Runs of the module that train by the same programs compile them once."""
    with programs_once():
        yield
