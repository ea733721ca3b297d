"""The source that docs/data.md shows, run as it stands there."""

import csv
import importlib
import io
import pickle
import re
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rats_jax import api
from tests.runs.tiny import tiny_config

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The example beside a table of 16 pictures, and the pictures; a tiny recipe for its own."""
    pictures = []
    with open(tmp_path / "pictures.csv", "w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["file", "label"])
        for i in range(16):
            file = io.BytesIO()
            Image.fromarray(np.full((20, 24, 3), 15 * i, np.uint8)).save(file, "PNG")
            (tmp_path / f"{i}.png").write_bytes(file.getvalue())
            pictures.append((file.getvalue(), i % 3))
            rows.writerow([f"{i}.png", i % 3])
    _, section = DOCS.read_text().split("## Your own source\n")
    path = tmp_path / "listed.py"
    path.write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    config = tiny_config(data__source="image_folder", data__length=0, run__stop_after=2)
    monkeypatch.setattr(api, "load_recipe", lambda name: config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return path, pictures


def test_the_source_in_the_docs_gives_the_images_and_can_be_pickled(script):
    path, pictures = script
    listed = importlib.import_module("listed")
    source = listed.Listed("pictures.csv")
    assert len(source) == 16 and source.files[3] == "3.png"
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(source.__getitem__, range(16))) == pictures
    assert pickle.loads(pickle.dumps(source))[5] == pictures[5]


@pytest.mark.slow
def test_the_script_in_the_docs_trains(script, monkeypatch):
    path, _ = script
    monkeypatch.setattr(sys, "argv", [str(path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert not ended.value.code
    assert len((path.parent / "runs/listed/metrics.jsonl").read_text().splitlines()) == 2
