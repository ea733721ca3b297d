"""Weights by paths of any kind and name; and what is read, in one line."""

import pprint
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.runs.restore import restore, restore_parts
from rats_jax.weights.files import read
from rats_jax.weights.layouts import recognise
from tests.weights import official


@pytest.mark.parametrize("path_of", [str, Path, lambda path: f"~/{path.name}"])
def test_paths_are_text_or_paths_with_a_home_or_without(run_folder, tmp_path, monkeypatch, path_of):
    (tmp_path / "run").symlink_to(run_folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file({name: x.numpy() for name, x in official.vit().state_dict().items()}, tmp_path / "x")
    assert open_backbone(path_of(tmp_path / "x")).origin.startswith("x: weights")
    assert open_backbone(path_of(tmp_path / "run")).step == 20
    assert restore(path_of(tmp_path / "run")).step == 20


def test_what_holds_arrays_is_one_line_in_a_notebook(run_folder, tmp_path):
    save_file({name: x.numpy() for name, x in official.vit().state_dict().items()}, tmp_path / "x")
    file = read(tmp_path / "x")
    run, weights = open_backbone(run_folder), open_backbone(tmp_path / "x")
    features = weights.features(np.ones((2, 32, 48, 3), "f4"), attention_of=[0], layers_of=[1])
    parts = restore_parts(run_folder, ["student", "center"])
    values = [
        run,
        weights,
        restore(run_folder),
        parts,
        restore(run_folder).network,
        file,
        file.tensors,
    ]
    values += [recognise(file.tensors, None), features, features.layers[1]]
    for value in values:
        line = repr(value)
        assert line.isprintable() and len(line) < 400, type(value)
        assert line.startswith(f"{type(value).__name__}("), line
        assert str(value) == line
        assert pprint.pformat(value, width=1000) == line
    assert "at step 20" in repr(run) and "float32[2, 6, 128]" in repr(features)


@pytest.mark.parametrize(
    "name", ["a b", "q'\"`$", "100%{x}", "new\nline", "b\udce9d", "naïve", "-x"]
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_are_read_whatever_their_folder_is_called(tmp_path, name, ending):
    folder = tmp_path / name
    folder.mkdir()
    state = official.vit().state_dict()
    torch.save(state, tmp_path / "x.pth")
    save_tensors(state, tmp_path / "x.safetensors")
    shutil.copy(tmp_path / f"x{ending}", folder / f"{name}{ending}")
    found = open_backbone(folder / f"{name}{ending}")
    assert found.origin.isprintable()
    found.origin.encode()
    with pytest.raises(UserError, match="has no student|does not say whose"):
        open_backbone(folder / f"{name}{ending}", weights="student")
