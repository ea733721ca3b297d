"""From the command line of rats finetune to its decoder: shortcuts, and what is missing."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rats_jax.config import finetune_config
from rats_jax.config_flag import load_recipe
from rats_jax.errors import UserError
from rats_jax.finetuning import start
from rats_jax.runs.workdir import write_config
from rats_jax.validation import validate
from tests.runs.tiny import tiny_config

ROOT = Path(__file__).parents[2]


def test_shortcuts_set_fields_and_the_metric_follows_the_task():
    recipe = load_recipe("masks")
    flags = {"task": "instance", "queries": "learned", "freeze": "backbone", "checkpoint": "demo"}
    config = start.with_shortcuts(recipe, flags, {})
    assert (config.task, config.decoder.queries, config.model.freeze) == (
        ("instance", "learned", "backbone")
    )
    assert (config.model.checkpoint, config.run.best_metric) == ("demo", "instance/ap_mask")
    assert recipe.task == "semantic"  # a copy was changed
    validate(config)
    by_hand = {"run.best_metric": "semantic/miou"}
    kept = start.with_shortcuts(load_recipe("masks"), {"task": "instance"}, by_hand)
    assert kept.run.best_metric == "semantic/miou"  # which `validate` refuses


@pytest.mark.parametrize(
    ("flags", "by_hand", "message"),
    [
        (
            {"decoder": "linear"},
            {"decoder.name": "registers"},
            "--decoder=linear and --config.decoder.name=registers contradict each other: leave out",
        ),
        ({"decoder": "linear", "queries": "learned"}, {}, "--queries=learned is for the decoder m"),
    ],
)
def test_flags_that_contradict_are_refused(flags, by_hand, message):
    with pytest.raises(UserError, match=message):
        start.with_shortcuts(finetune_config(), flags, by_hand)
    start.with_shortcuts(finetune_config(), {"decoder": "linear"}, {"decoder.name": "linear"})


@pytest.mark.parametrize(
    ("decoder", "task", "missing", "refused"),
    [
        ("mask2former", "semantic", "accelerate", "--decoder=mask2former needs accelerate"),
        ("registers", "instance", "pycocotools", "--task=instance needs pycocotools"),
        ("registers", "semantic", "torch", None),
        ("mask2former", "semantic", "pycocotools", None),
    ],
)
def test_a_missing_package_is_one_line(decoder, task, missing, refused, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    config = finetune_config()
    config.decoder.name, config.task = decoder, task
    if refused is None:
        return start.check_packages(config)
    with pytest.raises(UserError, match=f"^{refused}.*requirements-finetune.txt$"):
        start.check_packages(config)


@pytest.fixture
def started(monkeypatch):
    """The calls of the decoder's module, which is replaced."""
    calls = []
    room = SimpleNamespace(
        finetune=lambda config, workdir: calls.append((config.model.checkpoint, workdir)),
        evaluate=lambda workdir: calls.append(workdir),
    )
    monkeypatch.setattr(start, "_room", lambda config: room)
    return calls


def test_a_checkpoint_is_needed_at_the_first_start_only(tmp_path, started):
    config = finetune_config()
    with pytest.raises(UserError, match="^--checkpoint is missing"):
        start.finetune(config, str(tmp_path / "run"))
    assert not started and not (tmp_path / "run").exists()
    config.model.checkpoint = "weights.pth"
    write_config(tmp_path, config)
    start.finetune(finetune_config(), str(tmp_path))
    assert started == [("weights.pth", str(tmp_path))]


def test_only_a_run_of_fine_tuning_is_evaluated(tmp_path, started):
    write_config(tmp_path, tiny_config())
    with pytest.raises(UserError, match="contains a run of rats train"):
        start.run_config(str(tmp_path))
    write_config(tmp_path, finetune_config())
    start.evaluate(start.run_config(str(tmp_path)), str(tmp_path))
    assert started == [str(tmp_path)]


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rats_jax", "finetune", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        timeout=300,
    )


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no --config: name a recipe, such as --config=masks"),
        (["--config=masks"], "--workdir is missing"),
        (["--config=image_folder", "--workdir=x"], "is a config of rats train, not of rats finet"),
        (["--config=masks", "--task=pixels"], "flag --task=pixels: value should be one of"),
        (
            ["--config=masks", "--config.task=semantic", "--task=instance"],
            "--task=instance and --config.task=semantic contradict each other",
        ),
        (["--config=masks", "--config.backbone_rate=1"], "did you mean --config.optimizer.backbo"),
        (["--config=masks", "--processes=2"], "accelerate launch -m rats_jax.finetune"),
        (["--evaluate", "--workdir=nowhere"], "nowhere contains no config.json"),
        (["--evaluate", "--config=masks"], "takes every setting from the run in --workdir: leave"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, message):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_another_decoder_is_named_and_paths_become_absolute(tmp_path, monkeypatch):
    """Before anything else of the run is compared."""
    folder, given = tmp_path / "run", []
    (folder / "checkpoints/3").mkdir(parents=True)
    config = start.with_shortcuts(load_recipe("masks"), {"checkpoint": "demo"}, {})
    config.data.update(train="folder:a/train", test="procedural_parts:6@3")
    for decoder, other in (("registers", "mask2former"), ("mask2former", "registers")):
        write_config(folder, start.with_shortcuts(config, {"decoder": decoder}, {}))
        with pytest.raises(UserError, match=f"decoder.name is {decoder} there and {other} here"):
            start.finetune(start.with_shortcuts(config, {"decoder": other}, {}), str(folder))
    room = SimpleNamespace(finetune=lambda config, workdir: given.append(config.data.to_dict()))
    monkeypatch.setattr(start, "_room", lambda config: room)
    monkeypatch.chdir(tmp_path)
    start.finetune(config, str(tmp_path / "new"))
    assert given[0]["train"] == f"folder:{tmp_path}/a/train"
    assert given[0]["test"] == "procedural_parts:6@3"
