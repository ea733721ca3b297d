"""Files of weights: told by their content, with what lies beside them, without PyTorch."""

import argparse
import functools
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
from tests.weights import official
from tests.weights.saved import FORMATS, assert_read_as_torch_does, read_all, save, tensors


def test_tensors_of_safetensors_come_back(tmp_path):
    state = {name: tensor.contiguous().clone() for name, tensor in tensors().items()}
    save_file(state, tmp_path / "x.safetensors")
    assert_read_as_torch_does(tmp_path / "x.safetensors", state)


def test_the_name_of_a_file_says_nothing(tmp_path):
    save_arrays({"w": np.ones(3, np.float32)}, tmp_path / "weights.pth")
    save({"w": torch.ones(3)}, tmp_path / "weights.safetensors")
    for path in tmp_path.iterdir():
        assert read_all(path)["w"].tolist() == [1, 1, 1]


def dino_checkpoint(args) -> dict:
    """As main_dino.py saves it."""
    student, teacher = official.vit(0), official.vit(1)
    optimizer = torch.optim.AdamW(student.parameters(), lr=np.float64(0.1))
    student(torch.ones(1, 3, 32, 32)).patches.sum().backward()
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
        found = read(path, weights=weights)
        assert found.about == f"{weights} after 100 epochs"
        expected = {name.removeprefix("module."): x for name, x in content[weights].items()}
        assert found.tensors.arrays.keys() == expected.keys()
        for name, tensor in expected.items():
            np.testing.assert_array_equal(found.tensors.arrays[name], tensor.numpy())
    assert found.not_chosen == ["teacher"] and found.tensors.left_out == ["dino_loss.center"]
    assert found.settings == {
        "arch": "vit_small",
        "patch_size": 16,
        "lr": 5e-4,
        "scale": [0.4, 1.0],
    }


def test_the_config_beside_a_checkpoint_counts_where_its_arguments_say_otherwise(tmp_path):
    """Else the remedy for what arguments do not say, to put it there, would be none."""
    path = save(dino_checkpoint({"patch_size": 16, "lr": 1}), tmp_path / "checkpoint.pth")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 4, "lr": 2}')
    assert read(path).settings == {"patch_size": 16, "lr": 2, "num_attention_heads": 4}


def test_tensors_are_found_however_deep_they_are(tmp_path):
    x = torch.ones(2)
    content = {
        "state_dict": {"model": {"w": x}},
        "ema": {"shadow_params": [x, x]},
        "epoch": 3,
        "optimizer": {"state": {0: {"exp_avg": x}}},
        "optimizer_states": [{"state": {0: {"exp_avg": x}}}],
        "opt": {"exp_avg": {"w": x}},
    }
    path = save(content, tmp_path / "x.pth")
    expected = ["state_dict.model.w", "ema.shadow_params.0", "ema.shadow_params.1"]
    assert_read_as_torch_does(path, dict.fromkeys(expected, x))


def test_a_folder_of_transformers_is_read_with_its_config(tmp_path):
    state = official.vit().state_dict()
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    save(state, tmp_path / "pytorch_model.bin")
    assert read(tmp_path).file == tmp_path / "pytorch_model.bin"
    save_file(state, tmp_path / "model.safetensors")
    found = read(tmp_path)
    assert found.file == tmp_path / "model.safetensors" and found.settings == {"model_type": "vit"}
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
    arrays = read_all(parts())
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
        ({"epoch": 3, "optimizer": {}}, "holds no tensors"),
        ({"optimizer": {"w": torch.ones(2)}}, "holds no tensors"),
        ({"w": torch.ones(2), "x": np.float64(2)}, "has no patch_embed.proj.weight"),
        ({3: torch.ones(2)}, "has no patch_embed.proj.weight"),
        ({"a\nb": torch.ones(2)}, r"of the name 'a\\nb'"),
        ({"a": {"b": torch.ones(2)}, "a.b": torch.ones(2)}, "has two tensors of the name a.b"),
        ({"w" * 301: torch.ones(2)}, "has a tensor of the name www"),
        ({"w" * 200: {"w" * 200: torch.ones(2)}}, "has a tensor of the name www"),
        (functools.reduce(lambda x, _: [x], range(20), torch.ones(2)), "holds no dictionary"),
        ({"a": functools.reduce(lambda x, _: [x], range(20), torch.ones(2))}, "is nested too"),
    ],
)
def test_content_without_weights_is_told(tmp_path, content, told):
    with pytest.raises(UserError, match=told):
        read(save(content, tmp_path / "x.pth"))


def test_what_holds_itself_is_told(tmp_path):
    holder: list = []
    holder.append(holder)
    with pytest.raises(UserError, match="is nested too deeply"):
        read(save({"w": holder}, tmp_path / "x.pth"))


def test_lists_that_double_do_not_take_forever(tmp_path):
    """Ten lists, each of the last one fifty times."""
    doubled = functools.reduce(lambda x, _: [x] * 50, range(10), [])
    with pytest.raises(UserError, match="is nested too deeply"):
        read(save({"w": doubled}, tmp_path / "x.pth"))


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_one_set_of_weights_has_no_student(tmp_path, name):
    path, state = tmp_path / name, official.vit().state_dict()
    save_file(state, path) if "safe" in name else save(state, path)
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


@pytest.mark.processes
def test_pytorch_is_not_needed(tmp_path):
    save(dino_checkpoint(argparse.Namespace(lr=np.float64(1))), tmp_path / "x.pth")
    code = (
        "import sys, pathlib; sys.modules['torch'] = None\n"
        "from rats_jax.weights.files import read\n"
        "print(*read(pathlib.Path(sys.argv[1])).tensors.arrays)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.pth"], capture_output=True, text=True
    )
    assert done.stdout.split() == list(official.vit().state_dict()), done.stderr
