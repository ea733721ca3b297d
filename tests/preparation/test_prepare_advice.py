"""The command that prepare recommends fits the data, and works wherever it is pasted."""

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rats_jax.assemble import make_source, without_automatic
from rats_jax.config import schedules
from rats_jax.configs import recipe_file
from rats_jax.preparation import advice as module
from rats_jax.preparation.advice import advice
from rats_jax.preparation.run import prepare
from rats_jax.validation import validate
from tests.preparation.test_prepare import ROOT, small


class Shards:
    """In place of records of that many images and classes."""

    def __init__(self, images: int, classes: int):
        self.images, self.classes = images, [""] * classes

    def __len__(self) -> int:
        return self.images


def recommended(folders: list[Path]) -> dict[str, str]:
    """The flags of the command, by name."""
    (line,) = advice(folders)
    command = shlex.split(line.partition(": ")[2])
    assert command[:3] == [sys.executable, "-m", "rats_jax.train"]
    return dict(flag.removeprefix("--").split("=", 1) for flag in command[3:])


def config_of(flags: dict[str, str]):
    config = runpy.run_path(recipe_file(flags["config"]))["get_config"]()
    for name, value in flags.items():
        if name.startswith("config."):
            section, field = name.split(".")[1:]
            kind = type(config[section][field])
            config[section][field] = kind(value)
    return config


@pytest.mark.processes
@pytest.mark.parametrize("folder", ["out", "it's my;$HOME", "t~=e"])
def test_the_recommended_config_reads_the_shards_from_any_folder(tmp_path, monkeypatch, folder):
    small(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    splits = prepare(Path("images"), Path(folder), workers=1, shard_mb=1, shorter_side=0)
    flags = recommended(splits)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = config_of(flags)
    validate(config)
    source = make_source(config)
    assert len(source) == 6 and flags["workdir"] == f"runs/{folder}"
    config, _ = without_automatic(config, images=len(source), memory=None)
    assert schedules(config, images=len(source)).steps_per_epoch == 6  # a batch of 1


@pytest.mark.parametrize("images", [1, 7, 8, 100, 2000, 2048, 40_000, 1_000_000])
def test_own_images_get_a_recipe_whose_batch_they_fill(tmp_path, monkeypatch, images):
    monkeypatch.setattr(module, "Records", lambda _: Shards(images, 1000))
    flags = recommended([tmp_path / "train"])
    assert flags["config"] == "image_folder"
    config, _ = without_automatic(config_of(flags), images=images, memory=None)
    assert schedules(config, images=images).steps_per_epoch >= min(images, 4)
    assert "config.optimizer.batch_size" not in flags


@pytest.mark.parametrize(
    ("images", "classes", "expected"),
    [
        (1_281_167, 1000, {}),
        (1_281_160, 1000, {"config.data.length": "0"}),
        (1_281_167, 999, None),
        (1_200_000, 1000, None),
        (14_000_000, 21_841, None),
    ],
)
def test_imagenet_gets_its_recipe(tmp_path, monkeypatch, images, classes, expected):
    monkeypatch.setattr(module, "Records", lambda _: Shards(images, classes))
    flags = recommended([tmp_path / "train", tmp_path / "val"])
    assert (flags["config"] == "rats_s16_in1k") == (expected is not None)
    if expected is not None:
        length = {k: v for k, v in flags.items() if k == "config.data.length"}
        assert length == expected
        assert config_of(flags).data.length in (images, 0)


def test_the_interpreter_may_have_any_path(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Records", lambda _: Shards(8, 2))
    monkeypatch.setattr(sys, "executable", "/my envs/.venv/bin/python")
    recommended([tmp_path / "train"])


def test_images_of_val_alone_are_for_scoring(tmp_path):
    (line,) = advice([tmp_path / "a b" / "val"])
    command = shlex.split(line.partition(": ")[2])
    assert command[:4] == [sys.executable, "-m", "rats_jax.evaluate", "--task=knn"]
    assert f"'--dataset=records:{tmp_path}/a b/val'" in line


@pytest.mark.processes
def test_the_command_line_takes_a_tilde_and_hyphens(tmp_path):
    small(tmp_path / "images")
    flags = ["--input=~/images", "--output=~/shards", "--shard-mb=1", "--workers=1"]
    done = subprocess.run(
        [sys.executable, "-m", "rats_jax.prepare", *flags],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"--config.data.path={tmp_path}/shards/train" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["images", "shards"]
