"""python -m rats_jax.export: what is written computes what was trained, or nothing is written."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
import torch

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.runs.restore import restore_parts
from rats_jax.torch_export import card, one_file, onnx_graph
from rats_jax.torch_export.run import FORMATS, export
from rats_jax.weights import names


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory):
    """All formats, of the newest checkpoint's teacher."""
    output = tmp_path_factory.mktemp("exports") / "all"
    export(str(run_folder), output, formats=list(FORMATS), weights="teacher")
    return output


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_all_formats_are_one_folder(exported):
    assert sorted(file.name for file in exported.iterdir()) == sorted(
        ["README.md", "config.json", "model.safetensors", "modeling_rats.py"]
        + ["checkpoint.pth", "official_dino.py", "model.onnx"]
        + ["hf_rats.py", "timm_rats.py", "preprocessor_config.json"]
    )
    assert [file.name for file in exported.parent.iterdir()] == ["all"]


@pytest.mark.parametrize("weights", ["teacher", "student"])
@pytest.mark.parametrize("step", [10, 20])
def test_jax_to_pytorch_to_jax_is_the_same_to_the_bit(run_folder, tmp_path, weights, step):
    checkpoint = run_folder / "checkpoints" / str(step)
    export(str(checkpoint), tmp_path / "out", formats=["dino"], weights=weights)
    params = restore_parts(run_folder, [weights], step=step).state[weights]
    for file in ("", "model.safetensors"):
        assert_same(params["backbone"], open_backbone(str(tmp_path / "out" / file)).params)
    back = open_backbone(str(tmp_path / "out" / "checkpoint.pth"), weights=weights)
    assert_same(params["backbone"], back.params)


def test_a_step_is_taken_as_asked_and_else_the_newest(run_folder, exported):
    newest = restore_parts(run_folder, ["teacher"], step=20).state["teacher"]["backbone"]
    assert_same(newest, open_backbone(str(exported)).params)
    assert open_backbone(str(run_folder / "checkpoints" / "10")).step == 10


def test_an_export_is_exported_again_as_it_was(exported, tmp_path):
    export(str(exported), tmp_path / "again", formats=["safetensors"], weights="teacher")
    first, again = (
        (folder / "model.safetensors").read_bytes() for folder in (exported, tmp_path / "again")
    )
    assert first == again


@pytest.mark.parametrize(
    "batch, pixels", [(1, (16, 16)), (3, (16, 16)), (1, (40, 24)), (3, (40, 24))]
)
def test_the_onnx_graph_takes_any_batch_and_size(exported, batch, pixels):
    images = np.random.default_rng(0).standard_normal((batch, 3, *pixels), np.float32)
    backbone = open_backbone(str(exported))
    with jax.default_matmul_precision("highest"):
        expected = backbone.features(np.moveaxis(images, 1, -1))
    found = onnx_graph.outputs(exported, images)
    for ours, theirs in zip(expected[:3], found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=2e-5)


def test_the_card_tells_recipe_step_metrics_and_licence(run_folder, exported):
    card = (exported / "README.md").read_text()
    for told in (
        "teacher of the run in",
        "at step 20",
        "| `loss` | 2.8 |",
        "| `optimizer.learning_rate` | 0.03 |",
        "| `registers_per_head` | 2 |",
        "modeling_rats",
        "AutoModel",
        "official_dino.py",
        "onnxruntime",
        "licence",
        "multiples of 8",
    ):
        assert told in card
    assert str(run_folder.parent) not in card + (exported / "config.json").read_text()


def test_a_folder_of_any_name_is_written_and_its_card_says_how_to_load_it(
    run_folder, tmp_path, monkeypatch
):
    name = "a \"b\" 'c' `d` $e 100% {f} g\\h \n é"
    monkeypatch.setenv("HOME", str(tmp_path))
    export(run_folder / "checkpoints", f"~/{name}", formats=list(FORMATS))
    assert {folder.name for folder in tmp_path.iterdir()} <= {name, ".cache"}  # of torch
    card = (tmp_path / name / "README.md").read_text("utf-8")
    code = card.partition("import sys\n")[2].partition("features =")[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "modeling_rats", raising=False)
    here: dict = {"sys": sys}
    exec(code, here)
    assert sys.modules.pop("modeling_rats").__file__.startswith(str(tmp_path / name))
    assert here["model"].patch_size == 8
    line = next(line for line in card.splitlines() if "onnxruntime.InferenceSession" in line)
    assert eval(line.partition("Session(")[2][:-1]) == f"{name}/model.onnx"
    script = card.partition("\npython ")[2].partition(" DINO/")[0]
    assert shlex.split(script) == [f"{name}/official_dino.py"]


@pytest.mark.parametrize("output", ["ex\udce9", "sub\udce9/ex"])
def test_an_output_that_is_not_utf8_is_told_before_anything_is_read(run_folder, tmp_path, output):
    """transformers and onnxruntime cannot read such a folder back."""
    with pytest.raises(
        UserError, match=r"--output .*\\udce9.* is not valid UTF-8: rename it, or choose"
    ) as error:
        export(tmp_path / "nowhere", tmp_path / output, formats=["safetensors"])
    assert str(error.value).isprintable() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["wd\udce9", "a\nb"])
def test_weights_in_a_folder_of_any_name_are_exported(exported, tmp_path, name):
    """The name is in the card and in config.json."""
    source = shutil.copytree(exported, tmp_path / name)
    export(source, tmp_path / "out", formats=["safetensors"])
    assert "b\\n" not in (card := (tmp_path / "out" / "README.md").read_text("utf-8"))
    escaped = name.encode("unicode_escape").decode()
    assert f"{escaped}/model.safetensors: weights" in card
    about = json.loads((tmp_path / "out" / "config.json").read_text())["made_from"]
    assert escaped in about["origin"]


def test_a_copied_checkpoint_is_exported_in_all_formats_of_a_run(run_folder, tmp_path):
    copied = shutil.copytree(run_folder / "checkpoints" / "10", tmp_path / "copied")
    export(copied, tmp_path / "out", formats=["dino"], weights="student")
    expected = restore_parts(run_folder, ["student"], step=10).state["student"]["backbone"]
    assert_same(expected, open_backbone(tmp_path / "out").params)
    back = open_backbone(tmp_path / "out" / "checkpoint.pth", weights="student")
    assert_same(expected, back.params)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"formats": ["onyx"]}, "--format=onyx: choose from safetensors, dino, hf, onnx"),
        ({"checkpoint": "nowhere"}, "nowhere does not exist"),
        ({"step": 15}, "15"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(run_folder, tmp_path, changes, message):
    checkpoint = changes.get("checkpoint", str(run_folder))
    if "step" in changes:
        checkpoint += f"/checkpoints/{changes['step']}"
    formats = changes.get("formats", ["safetensors"])
    with pytest.raises(UserError, match=message):
        export(checkpoint, tmp_path / "deep" / "out", formats=formats, weights="teacher")
    assert list(tmp_path.iterdir()) == []


def test_the_official_layout_needs_a_run(exported, tmp_path):
    with pytest.raises(UserError, match="needs the student, the heads and the center of a run"):
        export(str(exported), tmp_path / "out", formats=["dino"], weights="teacher")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "form, module",
    [("safetensors", "rats_jax.weights.names"), ("dino", "rats_jax.torch_export.dino_checkpoint")],
)
def test_what_computes_something_else_is_not_kept(run_folder, tmp_path, monkeypatch, form, module):
    to_torch = names.to_torch

    def wrong(params):
        state = to_torch(params)
        for name in state:
            if name.endswith("blocks.1.mlp.fc1.weight"):
                state[name] = state[name].copy()
                state[name][0, 0] += 1
        return state

    monkeypatch.setattr(f"{module}.to_torch", wrong)
    with pytest.raises(
        UserError,
        match="the (registers|patches) of the exported model differ from those of the",
    ):
        export(str(run_folder), tmp_path / "out", formats=[form], weights="teacher")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_that_shows_at_other_sizes_alone_is_seen(run_folder, tmp_path, monkeypatch):
    write = one_file.write

    def wrong(folder, *, options, **others):
        write(folder, options=replace(options, position_offset=0.9), **others)

    monkeypatch.setattr(one_file, "write", wrong)
    with pytest.raises(
        UserError, match="of the exported model differ from .* JAX model at 32 x 8 pixels"
    ):
        export(str(run_folder), tmp_path / "out", formats=["safetensors"], weights="teacher")


def test_the_epoch_is_that_of_the_step(run_folder, tmp_path, monkeypatch):
    """Reports are fewer than steps: the last before step 10 may be of step 9, in epoch 1.8."""
    monkeypatch.setattr(card, "reported", lambda *_: {"step": 9, "epoch": 1.8})
    checkpoint = str(run_folder / "checkpoints" / "10")
    export(checkpoint, tmp_path / "out", formats=["dino"], weights="teacher")
    assert torch.load(tmp_path / "out" / "checkpoint.pth")["epoch"] == 2


@pytest.mark.processes
def test_sigterm_leaves_nothing(run_folder, tmp_path):
    command = [sys.executable, "-m", "rats_jax.export", f"--checkpoint={run_folder}"]
    running = subprocess.Popen([*command, f"--output={tmp_path / 'out'}"])
    while not list(tmp_path.iterdir()):
        assert running.poll() is None
        time.sleep(0.01)
    running.terminate()
    assert running.wait() == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_the_command_tells_what_it_did_and_where(run_folder, tmp_path):
    command = [sys.executable, "-m", "rats_jax.export", f"--checkpoint={run_folder}"]
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'out'}"], capture_output=True, text=True, check=True
    )
    assert "the teacher of the run in" in done.stdout and "at step 20" in done.stdout
    assert "model.safetensors: differs from the JAX model by at most " in done.stdout
    assert f"results: {tmp_path / 'out'}" in done.stdout
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr == "error: --output is missing: give the folder to create\n"
