"""A process that is killed while it writes vectors, or fits entries, resumes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.processes

#: Writes 60 images, fits 20 entries to their vectors, and says a line for each batch and iteration.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from rats_jax.dictionaries import store as stores
from rats_jax.parts.dictionary.kmeans import fit

stores._SHARD_BYTES = 20_000
folder = Path(sys.argv[1])
store = stores.Store.open(folder / "store", {"images": 60})
print("resumes at", store.images, flush=True)
for first in range(store.images, 60, 4):
    rng = np.random.default_rng(first)
    store.append({"vectors": rng.standard_normal((4, 50, 16), dtype=np.float32)})
    print("wrote", flush=True)
store.close()
found = fit(
    store.vectors(), 20, iterations=12, state=folder / "fit.npz",
    report=lambda line: print(line, flush=True),
)
np.savez(folder / "found.npz", **found._asdict())
"""


def start(script: Path, folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, script, folder], env=environment, stdout=subprocess.PIPE, text=True
    )


def kill_after(process: subprocess.Popen, last: str) -> list[str]:
    """Kills the process once it says this; its lines until then."""
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1].startswith(last):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return lines


def test_killed_while_writing_and_while_fitting(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    whole = start(script, tmp_path / "whole")
    process = start(script, tmp_path / "killed")
    for _ in range(9):
        assert process.stdout.readline()
    kill_after(process, "wrote")
    assert not (tmp_path / "killed" / "found.npz").exists()
    lines = kill_after(start(script, tmp_path / "killed"), "k-means, iteration 4")
    assert 0 < int(lines[0].removeprefix("resumes at")) < 60
    process = start(script, tmp_path / "killed")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "wrote" not in output
    assert "k-means, iteration 3:" not in output
    assert "k-means, iteration 6:" in output
    whole.communicate(timeout=300)
    assert whole.returncode == 0
    with (
        np.load(tmp_path / "whole" / "found.npz") as expected,
        np.load(tmp_path / "killed" / "found.npz") as found,
    ):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
