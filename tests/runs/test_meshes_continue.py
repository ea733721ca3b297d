"""A run goes on, on any mesh, from a checkpoint of any other."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.faults import judge
from tests.faults.process import Run, flags_of_several

pytestmark = pytest.mark.processes

SAVED, LAST = 4, 8
FLAGS = (
    *("--config.optimizer.batch_size=16", "--config.data.length=160", "--config.model.width=32"),
    *("--config.model.heads=4", "--config.optimizer.learning_rate=5e-4"),
    *(f"--config.run.checkpoint_every={SAVED}", f"--config.run.stop_after={LAST}"),
)


def train(workdir: Path, mesh: tuple[int, int, int], *, processes: int = 1, devices: int = 8):
    """Leaves the images of every batch in `workdir`-batches."""
    batches = workdir.with_name(f"{workdir.name}-batches")
    batches.mkdir()
    sizes = zip(("data", "fsdp", "tensor"), mesh, strict=True)
    flags = [f"--config.mesh.{name}={size}" for name, size in sizes]
    options = {
        "cache": workdir.with_name("compiled"),
        "faults": (f"record:{batches}",),
        "devices": devices // processes,
    }
    own = flags_of_several(processes) if processes > 1 else [[]]
    runs = [Run(workdir, *FLAGS, *flags, *each, **options) for each in own]
    try:
        for run in runs:
            end = run.end()
            assert (end.status, end.error) == (0, "")
    finally:
        for run in runs:
            run.__exit__()
    return batches


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """On (8, 1, 1), and its batches."""
    workdir = tmp_path_factory.mktemp("meshes") / "whole"
    return workdir, train(workdir, (8, 1, 1))


@pytest.mark.parametrize(
    ("mesh", "options"),
    [
        ((2, 2, 2), {}),
        pytest.param((2, 2, 2), {"processes": 2}, marks=pytest.mark.slow),
        pytest.param((8, 1, 1), {"processes": 2}, marks=pytest.mark.slow),
        pytest.param((1, 1, 1), {"devices": 1}, marks=pytest.mark.slow),
        pytest.param((1, 8, 1), {}, marks=pytest.mark.slow),
    ],
)
def test_losses_and_images_go_on_as_on_the_mesh_before(tmp_path, uninterrupted, mesh, options):
    whole, batches = uninterrupted
    workdir = tmp_path / "continued"
    shutil.copytree(whole, workdir)
    shutil.rmtree(workdir / "checkpoints" / str(LAST))
    ours = train(workdir, mesh, **options)
    rows = judge.metrics(workdir)
    assert [row["step"] for row in rows] == list(range(1, LAST + 1))
    theirs = judge.metrics(whole)
    assert rows[:SAVED] == theirs[:SAVED]
    losses, expected = ([row["loss"] for row in each[SAVED:]] for each in (rows, theirs))
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for step in range(SAVED + 1, LAST + 1):
        assert judge.batch(ours, step) == judge.batch(batches, step), f"step {step}"
    assert judge.batch(ours, LAST)[0] == list(range(16))
    assert not list(ours.glob(f"{SAVED}.*"))  # no batch is made again
