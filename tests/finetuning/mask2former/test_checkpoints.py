"""Checkpoints in PyTorch: whole, verified, and those that the rules keep."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from rats_jax.backbones import open_backbone
from rats_jax.config import finetune_config
from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.checkpoints import State, TorchCheckpoints
from rats_jax.runs.checkpoints.retention import Rules
from rats_jax.runs.workdir import write_config
from rats_jax.weights import names
from tests.finetuning.mask2former.models import BACKBONES, MEAN, STD, backbone_of, make

RULES = Rules(newest=2, every=0, best=1, metric="semantic/miou", highest=True)


def state(step: int, miou: float | None = None, on: str = "test") -> State:
    metrics = {"loss": 1.0} if miou is None else {"loss": 1.0, "semantic/miou": miou}
    shared = torch.full((3,), float(step))
    return State(
        step=step,
        model={"a": shared, "b": shared[1:]},
        optimizer={"a:exp_avg": torch.arange(4.0) * step},
        scale={"scale": 2.0},
        counts={"skipped": 1, "in_a_row": 0},
        metrics=metrics,
        about={"evaluation": on},
    )


@pytest.fixture
def checkpoints(tmp_path):
    return TorchCheckpoints(tmp_path, RULES)


def test_a_checkpoint_is_read_as_it_was_saved(checkpoints, tmp_path):
    checkpoints.save(state(5, 0.5))
    found = TorchCheckpoints(tmp_path, RULES).read(5)
    assert torch.equal(found.model["b"], torch.full((2,), 5.0))
    assert torch.equal(found.optimizer["a:exp_avg"], torch.arange(4.0) * 5)
    assert (found.step, found.scale, found.metrics) == (5, {"scale": 2.0}, state(5, 0.5).metrics)


def test_the_newest_and_the_best_stay(checkpoints, tmp_path):
    for step, miou in ((1, 0.2), (2, 0.6), (3, 0.4), (4, None), (5, 0.1)):
        checkpoints.save(state(step, miou))
    assert checkpoints.steps() == [2, 4, 5]
    assert TorchCheckpoints(tmp_path, RULES).best() == (2, 0.6)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_scores_on_other_images_do_not_compare(checkpoints):
    for step, miou, on in ((1, 0.9, "test"), (2, 0.5, "other"), (3, 0.4, "other")):
        checkpoints.save(state(step, miou, on))
    assert checkpoints.best() == (2, 0.5)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "checkpoint.json"])
def test_a_flipped_bit_is_found_and_an_older_checkpoint_is_taken(
    checkpoints, tmp_path, name, capsys
):
    for step in (1, 2):
        checkpoints.save(state(step))
    file = tmp_path / "checkpoints/2" / name
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    again = TorchCheckpoints(tmp_path, RULES)
    assert again.newest() == 1
    assert again.damaged == [(2, f"{name} is not as it was written")]
    assert f"{name} is not as it was written" in capsys.readouterr().out
    assert (tmp_path / "damaged/2").is_dir() and again.steps() == [1]


def test_a_checkpoint_of_half_its_files_is_not_taken(checkpoints, tmp_path):
    checkpoints.save(state(1))
    (tmp_path / "checkpoints/1/optimizer.safetensors").unlink()
    for _ in range(2):  # also if it is tried again
        with pytest.raises(UserError, match="no checkpoint in .* is intact"):
            TorchCheckpoints(tmp_path, RULES).newest()
    assert (tmp_path / "checkpoints/1").is_dir()


def test_files_have_the_usual_modes(checkpoints, tmp_path):
    checkpoints.save(state(1))
    modes = {file.stat().st_mode for file in (tmp_path / "checkpoints/1").iterdir()}
    assert len(modes) == 1


def test_what_a_kill_leaves_is_no_checkpoint(checkpoints, tmp_path):
    checkpoints.save(state(1))
    half = tmp_path / "checkpoints/.2.new"
    shutil.copytree(tmp_path / "checkpoints/1", half)
    assert TorchCheckpoints(tmp_path, RULES).newest() == 1
    checkpoints.save(state(2))
    assert not half.exists() and checkpoints.newest() == 2


@pytest.mark.processes
def test_the_sums_are_those_of_sha256sum(checkpoints, tmp_path):
    checkpoints.save(state(1))
    folder = tmp_path / "checkpoints/1"
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize("name", ["rats", "dinov3"])
def test_the_backbone_of_a_run_opens_without_pytorch(tmp_path, name):
    backbone = backbone_of(**BACKBONES[name])
    config, queries = finetune_config(), "registers" if name == "rats" else "learned"
    config.model.parallel, config.decoder.queries = "separate", queries
    model = make(backbone, **{"model.parallel": "separate", "decoder.queries": queries})
    with torch.no_grad():
        model.backbone.get_parameter("blocks.0.mlp.fc1.bias").add_(1.0)
    write_config(tmp_path, config)
    about = {"options": backbone.options.asdict(), "mean": MEAN, "std": STD, "origin": "random"}
    for step, miou in ((3, 0.5), (6, 0.4)):
        saved = replace(state(step, miou), model=model.state_dict())
        saved = replace(saved, about={"evaluation": 1, "backbone": about})
        TorchCheckpoints(tmp_path, RULES).save(saved)
    found = open_backbone(tmp_path)
    assert "at step 3, the best of semantic/miou (50.0 %)" in found.origin
    assert (tuple(found.mean), tuple(found.std)) == (MEAN, STD)
    torch_names = names.to_torch(found.params)
    expected = model.backbone.state_dict()
    assert set(torch_names) == set(expected)
    assert all(np.array_equal(torch_names[n], x.numpy()) for n, x in expected.items())
    assert found.options.asdict().get("parallel", "") == ("separate" if name == "rats" else "")
    assert open_backbone(tmp_path / "checkpoints/6").step == 6
    (tmp_path / "checkpoints/3/model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="checkpoints/3 is damaged"):
        open_backbone(tmp_path)
