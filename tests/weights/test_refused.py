"""Hostile and wrong files: refused in one line that names what is wrong; nothing of them runs, and
nothing is written."""

import argparse
import functools
import importlib
import io
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.torch_export.run import export
from tests.processes import ROOT
from tests.weights import official


def refusal(path, folder) -> str:
    """The line in which the backbone is refused, and an export of it, which leaves nothing."""
    with pytest.raises(UserError) as error:
        open_backbone(str(path))
    before = sorted(folder.iterdir())
    with pytest.raises(UserError) as of_export:
        export(str(path), folder / "output", formats=["safetensors"], weights="teacher")
    assert sorted(folder.iterdir()) == before
    line = str(error.value)
    assert line == str(of_export.value)
    assert line.startswith(str(path)) and line.isprintable() and len(line) < 600
    return line


class Calls:
    """Pickled as the call of a function, which may be one of these itself."""

    def __init__(self, *call):
        self.function, *self.arguments = call

    def __reduce__(self):
        return self.function, tuple(self.arguments)

    def __call__(self):
        """Such a function must look like one."""


def attacks(sentinel) -> dict[str, Calls]:
    """By the function that each is refused for. All leave the sentinel where they run."""
    shell, code = f"touch {sentinel}", f"open({str(sentinel)!r}, 'w')"
    inner = io.BytesIO()
    torch.save(Calls(os.system, shell), inner, _use_new_zipfile_serialization=False)
    system = Calls(getattr, Calls(importlib.import_module, "os"), "system")
    return {
        "system": Calls(os.system, shell),
        "Popen": Calls(subprocess.Popen, ["touch", str(sentinel)]),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "open": Calls(open, str(sentinel), "w"),
        "getattr": Calls(system, shell),
        "partial": Calls(Calls(functools.partial, eval, code)),
        "_load_from_bytes": Calls(torch.storage._load_from_bytes, inner.getvalue()),
    }


NAMES = list(attacks("sentinel"))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_checkpoint_does_not_run(tmp_path, name, protocol, zipped):
    path, sentinel = tmp_path / "hostile.pth", tmp_path / "sentinel"
    content = {"teacher": official.vit().state_dict(), "optimizer": attacks(sentinel)[name]}
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
    torch.save(content, path, **options)
    assert f".{name}, which is no part of weights; nothing of it was run" in refusal(path, tmp_path)
    assert not sentinel.exists()
    loaded = torch.load(path, weights_only=False)["optimizer"]  # the attack is a real one
    if isinstance(loaded, subprocess.Popen):
        loaded.wait()
    assert sentinel.exists()


@pytest.mark.parametrize(
    "name", ["torch.load", "rats_jax.command_line.fail", "rats_jax.weights.unpickler.load", "x.y.z"]
)
def test_names_of_pytorch_and_of_our_own_are_refused_too(tmp_path, name):
    module, _, function = name.rpartition(".")
    content = pickle.dumps({"w": 1}, 2)[:-1] + f"c{module}\n{function}\n)R.".encode()
    path = tmp_path / "hostile.pth"
    save_pickle(content, path)
    assert f"holds {name}, " in refusal(path, tmp_path)


def save_pickle(data: bytes, path) -> None:
    """An archive of torch.save with this for its pickle."""
    writer = torch._C.PyTorchFileWriter(str(path))
    writer.write_record("data.pkl", data, len(data))
    writer.write_record("byteorder", b"little", 6)
    writer.write_end_of_file()


def places(sentinel):
    """Of an attack in a file."""
    attack = Calls(os.system, f"touch {sentinel}")
    state = official.vit().state_dict()
    return {
        "alone": attack,
        "in a list": [attack],
        "a key": {attack: 1},
        "an argument": {"teacher": state, "args": argparse.Namespace(lr=attack)},
        "a tensor": state | {"pos_embed": attack},
        "a metadata": type(state)(state, metadata=attack),
    }


@pytest.mark.parametrize("place", list(places("")))
def test_code_is_found_wherever_it_is(tmp_path, place):
    path, sentinel = tmp_path / "hostile.pth", tmp_path / "sentinel"
    torch.save(places(sentinel)[place], path)
    assert "system, which is no part of weights" in refusal(path, tmp_path)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "instructions", [b"cos\nsystem\n(Vtouch %s\ntR.", b"(Vtouch %s\nios\nsystem\n."]
)
@pytest.mark.parametrize("place", range(5))
def test_code_in_any_pickle_of_a_stream_does_not_run(tmp_path, instructions, place):
    path, sentinel = tmp_path / "hostile.pth", tmp_path / "sentinel"
    values = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, []]
    pickles = [pickle.dumps(value, 2) for value in values]
    pickles[place] = b"\x80\x02" + instructions % str(sentinel).encode()
    path.write_bytes(b"".join(pickles))
    refusal(path, tmp_path)
    assert not sentinel.exists()
    pickle.loads(pickles[place])
    assert sentinel.exists()


@pytest.mark.parametrize("kind", ["zip", "stream", "safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, kind):
    path, state = tmp_path / "model.bin", official.vit().state_dict()
    if kind == "safetensors":
        save_file({name: x.numpy() for name, x in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    open_backbone(str(path))
    data = path.read_bytes()
    for end in np.linspace(0, len(data) - 1, 50, dtype=int):
        path.write_bytes(data[:end])
        line = refusal(path, tmp_path)
        assert "copy or download it again" in line or "is no file of weights" in line


def without(start: str):
    return lambda state: {key: x for key, x in state.items() if not key.startswith(start)}


def transposed(name: str):
    return lambda state: state | {name: state[name].T}


def renamed(before: str, after: str):
    return lambda state: {key.replace(before, after): x for key, x in state.items()}


WRONG = {
    "all of an MLP is missing": (without("blocks.1.mlp"), "blocks.1.mlp.fc1.weight"),
    "the patch embedding is missing": (without("patch_embed.proj.weight"), "patch_embed.proj"),
    "a key too many": (
        lambda state: state | {"blocks.1.gate": state["norm.bias"]},
        "blocks.1.gate",
    ),
    "another key too many": (lambda state: state | {"extra": state["norm.bias"]}, "extra"),
    "qkv is transposed": (transposed("blocks.0.attn.qkv.weight"), "blocks.0.attn.qkv.weight"),
    "fc1 is transposed": (transposed("blocks.1.mlp.fc1.weight"), "blocks.1.mlp.fc1.weight"),
    "positions are transposed": (
        lambda state: state | {"pos_embed": state["pos_embed"].mT},
        "pos_embed",
    ),
    "patches are channels last": (
        lambda state: (
            state
            | {"patch_embed.proj.weight": state["patch_embed.proj.weight"].permute(2, 3, 1, 0)}
        ),
        "patch_embed.proj.weight",
    ),
    "a layer is missing": (renamed("blocks.0.", "blocks.2."), "blocks.0."),
    "a bias of another length": (
        lambda state: state | {"norm.bias": state["norm.bias"][:5]},
        "norm.bias",
    ),
    "whole numbers": (lambda state: state | {"norm.bias": state["norm.bias"].int()}, "norm.bias"),
}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("wrong", list(WRONG))
def test_a_wrong_state_dict_is_refused_by_the_name_of_what_is_wrong(tmp_path, wrong, ending):
    path = tmp_path / f"model.{ending}"
    change, name = WRONG[wrong]
    state = change(official.vit().state_dict())
    if ending == "pth":
        torch.save(state, path)
    else:
        save_file({name: x.contiguous().numpy() for name, x in state.items()}, path)
    assert name in refusal(path, tmp_path)


def test_any_tensor_that_is_missing_or_transposed_is_named(tmp_path):
    state, path = official.vit().state_dict(), tmp_path / "model.pth"
    for name, tensor in state.items():
        torch.save(without(name)(state), path)
        assert name in refusal(path, tmp_path)
        # A square matrix that is transposed has the shape it must have.
        if tensor.ndim > 1 and tensor.shape != tensor.mT.shape:
            torch.save(state | {name: tensor.mT}, path)
            assert name in refusal(path, tmp_path)


@pytest.mark.parametrize(("depth", "name"), [(3, "blocks.2"), (1, "blocks.1")])
def test_another_depth_than_the_config_says_is_refused(tmp_path, depth, name):
    save_file(
        {name: x.numpy() for name, x in official.vit().state_dict().items()},
        tmp_path / "model.safetensors",
    )
    options = {
        "architecture": "vit",
        "width": 128,
        "depth": depth,
        "heads": 2,
        "patch": 16,
        "image_size": 32,
    }
    (tmp_path / "config.json").write_text(json.dumps({"options": options}))
    assert name in refusal(tmp_path, tmp_path)


@pytest.mark.processes
def test_the_command_ends_with_one_line_and_status_2(tmp_path):
    path, sentinel = tmp_path / "hostile.pth", tmp_path / "sentinel"
    torch.save({"teacher": Calls(os.system, f"touch {sentinel}")}, path)
    command = [sys.executable, "-m", "rats_jax.export", f"--checkpoint={path}"]
    done = subprocess.run(
        [*command, f"--output={tmp_path}/output"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {path} holds {os.system.__module__}.system, which is no")
    assert done.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["hostile.pth"]
