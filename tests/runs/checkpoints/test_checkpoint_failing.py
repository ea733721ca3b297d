"""Saves that a kill cuts short, or the disk fails."""

import os
import resource
import shutil
import subprocess
import sys
import time

import pytest

from rats_jax.errors import UserError
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from tests.runs.checkpoints.checkpoints import (
    ROOT,
    abstract,
    assert_equal,
    make_state,
    save,
)


def test_what_a_kill_leaves_is_no_checkpoint_and_goes_at_the_next_start(workdir):
    folder = workdir / "checkpoints"
    for name in ("40.orbax-checkpoint-tmp", "40.orbax-checkpoint-tmp-123", "5.removed"):
        shutil.copytree(folder / "30", folder / name)
    shutil.copytree(folder / "30", folder / "30.mine")
    with Checkpoints(workdir, read_only=True) as checkpoints:
        assert checkpoints.steps() == [10, 20, 30]
    assert len(list(folder.iterdir())) == 7
    with Checkpoints(workdir, keep=3) as checkpoints:
        assert checkpoints.latest() == 30
    assert sorted(p.name for p in folder.iterdir()) == ["10", "20", "30", "30.mine"]


KILLED = """
import sys
from pathlib import Path
from tests.runs.checkpoints.test_checkpoint import Checkpoints, make_state

with Checkpoints(Path(sys.argv[1]), keep=2) as checkpoints:
    for step in range(1, 100):
        checkpoints.save(step, make_state(step, size=2_000_000), about={}, metrics={})
        print(step, flush=True)
"""


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.05, 0.15])
def test_killed_while_it_saves_it_goes_on_from_a_complete_one(tmp_path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.strip() == "3":
            break
    time.sleep(seconds)
    process.kill()
    process.wait()
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        found = checkpoints.restore(abstract(make_state(0, size=2_000_000)))
    assert found.step >= 2 and found.damaged == []
    assert_equal(found.state, make_state(found.step, size=2_000_000))


@pytest.fixture
def no_large_files():
    """No file may grow over 100 kB: to write fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_fails_is_told_at_once_and_the_one_before_stays(workdir, no_large_files, capfd):
    message = (
        "step 40 could not be saved in .*: File too large; the checkpoint at step 30 is kept: "
    )
    with Checkpoints(workdir, keep=1) as checkpoints:
        no_large_files()
        checkpoints.save(40, make_state(40, size=200_000), about={}, metrics={})
        deadline = time.monotonic() + 60
        with pytest.raises(UserError, match=message):
            while time.monotonic() < deadline:
                checkpoints.check()
                time.sleep(0.01)
        assert [p.name for p in (workdir / "checkpoints").iterdir() if p.name > "30"] == []
    assert checkpoints.steps() == [10, 20, 30]  # nothing was removed for it


FAILING = """
import resource, sys
from pathlib import Path
from rats_jax.errors import UserError
from tests.runs.checkpoints.test_checkpoint import Checkpoints, make_state

try:
    with Checkpoints(Path(sys.argv[1])) as checkpoints:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        state = {i: make_state(i, size=5000) for i in range(20)}
        checkpoints.save(1, state, about={}, metrics={})
except UserError:
    print("told")
"""


@pytest.mark.processes
def test_a_save_that_fails_is_told_without_tracebacks(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", FAILING, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (told.stdout, told.stderr) == ("told\n", "")


def test_leaving_tells_of_the_last_save(workdir, no_large_files, capsys):
    large = make_state(40, size=200_000)
    with (
        pytest.raises(UserError, match="step 40 could not be saved"),
        Checkpoints(workdir, keep=1) as checkpoints,
    ):
        no_large_files()
        checkpoints.save(40, large, about={}, metrics={})
    with pytest.raises(ZeroDivisionError), Checkpoints(workdir, keep=1) as checkpoints:
        checkpoints.save(50, large, about={}, metrics={})
        raise ZeroDivisionError
    assert "warning: the checkpoint at step 50 could not be saved" in capsys.readouterr().out


def test_a_full_disk_is_named_with_its_remedy(workdir, monkeypatch):
    def full(*_, **__):
        text = "RESOURCE_EXHAUSTED: Failed to write: No space left on device [os_error_code='28']"
        raise ValueError(text)

    with Checkpoints(workdir, keep=1) as checkpoints:
        monkeypatch.setattr(checkpoints._writer, "save", full)
        with pytest.raises(
            UserError, match="No space left on device; .*: free some space, and start"
        ):
            save(checkpoints, 40)


def test_an_error_of_the_program_stays_what_it_is(workdir):
    with Checkpoints(workdir, keep=1) as checkpoints, pytest.raises(TypeError, match="not JSON"):
        checkpoints.save(40, make_state(40), about={"x": object()}, metrics={})
