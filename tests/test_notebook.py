"""The notebook runs from its first cell to its last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs/notebooks/first_steps.ipynb"


def cells() -> list[str]:
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def test_cells_are_python_and_hold_no_output():
    for cell in cells():
        compile(cell, str(NOTEBOOK), "exec")
    assert not any(cell.get("outputs") for cell in json.loads(NOTEBOOK.read_text())["cells"])


@pytest.mark.slow
@pytest.mark.processes
def test_every_cell_runs(tmp_path):
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cells()))
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "model: centered registers" in done.stdout and "SLIC" in done.stdout
