"""Files of weights: told by their content, with what lies beside them, without PyTorch."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from rats_jax.errors import UserError
from rats_jax.weights.files import read
from tests.weights.saved import FORMATS, assert_read_as_torch_does, save, tensors


def test_tensors_of_safetensors_come_back(tmp_path):
    state = {name: tensor.contiguous().clone() for name, tensor in tensors().items()}
    save_file(state, tmp_path / "x.safetensors")
    assert_read_as_torch_does(tmp_path / "x.safetensors", state)


def test_the_name_of_a_file_says_nothing(tmp_path):
    save_arrays({"w": np.ones(3, np.float32)}, tmp_path / "weights.pth")
    save({"w": torch.ones(3)}, tmp_path / "weights.safetensors")
    for path in tmp_path.iterdir():
        assert read(path).arrays["w"].tolist() == [1, 1, 1]


def dino_checkpoint(args) -> dict:
    """As main_dino.py saves it."""
    student, teacher = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(student.parameters(), lr=np.float64(0.1))
    student(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "student": {f"module.{name}": x for name, x in student.state_dict().items()},
        "teacher": teacher.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 100,
        "args": args,
        "dino_loss": {"center": torch.zeros(1, 8)},
        "fp16_scaler": torch.amp.GradScaler("cpu").state_dict(),
    }


@pytest.mark.parametrize("zipped", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("kind", [argparse.Namespace, dict])
def test_a_dino_checkpoint_gives_the_weights_asked_for(tmp_path, zipped, kind):
    args = kind(arch="vit_small", patch_size=16, lr=np.float64(5e-4), scale=(0.4, 1.0))
    content = dino_checkpoint(args)
    path = save(content, tmp_path / "checkpoint.pth", zipped=zipped)
    for weights in ("teacher", "student"):
        assert_read_as_torch_does(path, content[weights], weights=weights)
    found = read(path)
    assert found.about == "teacher after 100 epochs"
    assert found.settings == {
        "arch": "vit_small",
        "patch_size": 16,
        "lr": 5e-4,
        "scale": [0.4, 1.0],
    }


@pytest.mark.parametrize("name", ["model", "state_dict"])
def test_weights_beside_other_things_are_found(tmp_path, name):
    state = {"w": torch.ones(2)}
    assert_read_as_torch_does(save({name: state, "epoch": 3}, tmp_path / "x.pth"), state)


def test_a_folder_of_transformers_is_read_with_its_config(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert read(tmp_path).arrays["w"].tolist() == [1, 1]
    save_arrays({"w": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    found = read(tmp_path)
    assert found.arrays["w"].tolist() == [0, 0] and found.settings == {"model_type": "vit"}
    assert read(tmp_path / "pytorch_model.bin").settings == {"model_type": "vit"}


@pytest.fixture
def parts(tmp_path):
    """A folder with a model in two parts; the function writes its index."""
    for i, name in enumerate("ab", 1):
        save_arrays(
            {name: np.full(2, i, np.float32)}, tmp_path / f"model-0000{i}-of-00002.safetensors"
        )

    def write(**weight_map) -> str:
        files = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        index = {"metadata": {"total_size": 16}, "weight_map": files | weight_map}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        return tmp_path

    return write


def test_a_model_in_parts_is_read_as_one(parts):
    arrays = read(parts()).arrays
    assert {name: array.tolist() for name, array in arrays.items()} == {"a": [1, 1], "b": [2, 2]}


@pytest.mark.parametrize("part", ["../a.safetensors", "/etc/passwd", "x/a.safetensors", "..", ""])
def test_a_part_that_is_elsewhere_is_refused(parts, part):
    with pytest.raises(UserError, match="no file beside it"):
        read(parts(b=part))


def test_parts_that_are_not_as_the_index_says_are_refused(parts):
    with pytest.raises(UserError, match=r"00002-of-00002.safetensors has no c, unlike model"):
        read(parts(c="model-00002-of-00002.safetensors"))
    folder = parts()
    save_arrays({"c": np.ones(2), "b": np.ones(2)}, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(UserError, match=r"00002-of-00002.safetensors has c, unlike model"):
        read(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00002.safetensors is missing"):
        read(folder)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 86\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (LFS, "git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\n <html lang=en>", "is a web page"),
        (b"\x1f\x8b\x08" + bytes(50), "is an archive"),
        (b"PK\x03\x04" + bytes(50), "is damaged"),
        (b"\x80\x02K\x01.", "not one of torch.save"),
        (b"hello", "is no file of weights"),
        (bytes(100), "is no file of weights"),
        ((1000).to_bytes(8, "little") + b'{"w": 1', "is damaged"),
    ],
)
def test_what_is_no_weights_is_told(tmp_path, data, told):
    path = tmp_path / "model.pth"
    path.write_bytes(data)
    with pytest.raises(UserError, match=told) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.ones(2)], "holds no dictionary"),
        (torch.ones(2), "holds no dictionary"),
        ({}, "holds no tensors"),
        ({"epoch": 3, "optimizer": {}}, "has epoch where a tensor"),
        ({"w": torch.ones(2), "x": np.float64(2)}, "has x where a tensor"),
        ({3: torch.ones(2)}, "has 3 where a tensor"),
        ({"a\nb": torch.ones(2)}, r"of the name 'a\\nb'"),
        ({"student": {"w": torch.ones(2)}, "epoch": 3}, "has no teacher; it has student, epoch"),
        ({"teacher": {"w": {"w": torch.ones(2)}}}, "has w where a tensor"),
    ],
)
def test_content_without_weights_is_told(tmp_path, content, told):
    with pytest.raises(UserError, match=told):
        read(save(content, tmp_path / "x.pth"))


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_one_set_of_weights_has_no_student(tmp_path, name):
    path = tmp_path / name
    save_arrays({"w": np.ones(2)}, path) if "safe" in name else save({"w": torch.ones(2)}, path)
    with pytest.raises(UserError, match="leave out --weights=student"):
        read(path, weights="student")


def test_config_that_is_no_json_is_told(tmp_path):
    save_arrays({"w": np.ones(2)}, tmp_path / "model.safetensors")
    for text in ("{", "[]", "[" * 100_000, "\xff"):
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match=r"config.json is damaged"):
            read(tmp_path)


def test_a_folder_or_path_without_weights_is_told(tmp_path):
    with pytest.raises(UserError, match=r"holds no model.safetensors or pytorch_model.bin"):
        read(tmp_path)
    save({"w": torch.ones(2)}, tmp_path / "dino.pth")
    with pytest.raises(UserError, match=r"name the file itself, such as .*dino.pth"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"nothing.pth cannot be read \(No such file"):
        read(tmp_path / "nothing.pth")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is no file"):
        read(tmp_path / "pipe")


def test_pytorch_is_not_needed(tmp_path):
    save(dino_checkpoint(argparse.Namespace(lr=np.float64(1))), tmp_path / "x.pth")
    code = (
        "import sys, pathlib; sys.modules['torch'] = None\n"
        "from rats_jax.weights.files import read\n"
        "print(*read(pathlib.Path(sys.argv[1])).arrays)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.pth"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["weight", "bias"], done.stderr
