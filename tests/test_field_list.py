"""The fields of a recipe below its --help."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rats_jax.config import default_config, fields
from rats_jax.config.field import Field
from rats_jax.config_flag import load_recipe
from rats_jax.config_text import accepted, shown
from rats_jax.configs import recipe_names
from rats_jax.field_list import field_list

ROOT = Path(__file__).parents[1]


def help_of(command: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"rats_jax.{command}", *arguments, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "90"},
        timeout=300,
    )


def assignments(text: str) -> dict[str, str]:
    """The line of each field, by the name of the field."""
    lines = [line for line in text.splitlines() if line[2:].startswith("--config.")]
    return {line[len("* --config.") :].partition("=")[0]: line for line in lines}


def test_all_fields_are_listed_with_value_default_accepted_values_and_text(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = field_list(load_recipe("demo"), "demo")
    lines = assignments(text)
    assert list(lines) == [field.name for field in fields()]
    assert lines["optimizer.batch_size"] == "* --config.optimizer.batch_size=64  (default: 1024)"
    assert lines["optimizer.accumulation"] == "  --config.optimizer.accumulation=1"
    scale = "* --config.crops.global_scale='(0.4,1.0)'  (default: (0.25,1.0))"
    assert lines["crops.global_scale"] == scale
    assert lines["data.path"] == "  --config.data.path=''"
    assert lines["evaluation.parts"].endswith("=procedural_parts  (default: empty)")
    assert lines["evaluation.centered"].endswith("=true  (default: false)")
    one_line = " ".join(text.split())
    assert all(" ".join(field.text.split()) in one_line for field in fields())
    assert (
        "Number of blocks. A Perceiver has at least 3. [a whole number, more than 0; fixed for"
        in (one_line)
    )
    assert "[one of warn, stop, off]" in one_line


def test_values_and_accepted_values_in_words():
    measures = field_of("evaluation.measures")
    assert shown(measures, measures.default) == '("parts","registers","knn")'
    assert shown(field_of("head.norm_last_layer"), True) == "true"
    assert accepted(field_of("head.norm_last_layer")) == "true or false"
    assert accepted(field_of("mesh.data")) == "a whole number"
    assert accepted(field_of("dino.center_momentum")) == "a number, from 0 to 1"
    assert accepted(field_of("model.remat")) == "one of none, dots, full, or `auto`"
    assert accepted(field_of("crops.local_scale")).startswith("two shares of the image's area")


def test_a_value_that_is_chosen_at_the_start_of_a_run_is_shown_as_auto():
    field = SimpleNamespace(is_auto=lambda value: value == -1)
    assert (shown(field, -1), shown(field, 8)) == ("auto", "8")


def field_of(name: str) -> Field:
    return next(field for field in fields() if field.name == name)


@pytest.mark.parametrize("columns", [30, 80, 100, 140])
def test_texts_fit_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for recipe in recipe_names():
        text = field_list(load_recipe(recipe), recipe)
        texts = [x for x in text.splitlines() if not x[2:].startswith("--config.")]
        assert max(map(len, texts)) <= max(36, min(columns, 100))


def test_the_default_config_has_nothing_to_mark():
    text = field_list(default_config(), "x")
    assert not [line for line in text.splitlines() if line.startswith("* --")]


@pytest.mark.processes
@pytest.mark.parametrize("command", ["train", "plan", "demo"])
def test_help_with_a_recipe_lists_its_fields_and_the_values_that_are_set(command):
    done = help_of(
        command, "--config=demo", "--config.seed=7", "--config.optimizer.batch_size", "5"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = assignments(done.stdout)
    assert len(lines) == len(fields())
    assert lines["seed"] == "* --config.seed=7  (default: 0)"
    assert lines["optimizer.batch_size"] == "* --config.optimizer.batch_size=5  (default: 1024)"
    assert done.stdout.startswith(f"rats {command} ") and "Fields of --config=demo." in done.stdout


@pytest.mark.processes
def test_help_of_a_command_with_a_default_recipe():
    plain = help_of("demo")
    assert not assignments(plain.stdout) and "Default: demo." in plain.stdout
    assert assignments(help_of("demo", "--config.seed=7").stdout)["seed"].startswith("* ")


@pytest.mark.processes
def test_a_mistake_with_help_is_help_and_one_line():
    done = help_of("train", "--config=nowhere")
    assert done.returncode == 2 and done.stdout.startswith("rats train ")
    assert "does not exist" in done.stderr and ", ".join(recipe_names()) in done.stderr
    assert done.stderr.count("\n") == 1 and not assignments(done.stdout)
    done = help_of("demo", "--config.optimizer.batchsize=5")
    assert done.returncode == 2 and "did you mean --config.optimizer.batch_size?" in done.stderr
    assert assignments(done.stdout)["optimizer.batch_size"].endswith("=64  (default: 1024)")


@pytest.mark.processes
@pytest.mark.parametrize("command", ["train", "finetune", "plan", "demo"])
def test_help_without_a_recipe_does_not_load_jax(command):
    program = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('rats_jax.{command}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--config=RECIPE --help lists all fields" in " ".join(done.stdout.split())
