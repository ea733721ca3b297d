"""What every command shares: help, version, either spelling of flags, one line for a mistake."""

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rats_jax import __version__
from rats_jax.__main__ import COMMANDS
from rats_jax.voice import say

ROOT = Path(__file__).parents[1]
NEEDED = {
    "demo": ("--workdir",),
    "train": ("--config", "--workdir", "--coordinator"),
    "finetune": ("--config", "--checkpoint", "--workdir", "--task", "--decoder", "--[no]evaluate"),
    "prepare": ("--input", "--output"),
    "evaluate": ("--checkpoint", "--weights", "--dataset", "--output", "--[no]skip_broken"),
    "dictionary": ("--checkpoint", "--train", "--dataset", "--entries", "--output", "--cache"),
    "visualize": ("--checkpoint", "--weights", "--images", "--output"),
    "export": ("--checkpoint", "--weights", "--output", "--format"),
    "plan": ("--config", "--topology"),
    "reproduce": ("--checkpoint", "--data", "--output", "--table", "--figure"),
}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "90"} | environment,
        timeout=300,
    )


@pytest.mark.processes
@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_what_a_command_needs(command):
    asked = [(f"rats_jax.{command}", "--help"), ("rats_jax", command, "-h")]
    done = [python(*way) for way in asked]
    assert [d.returncode for d in done] == [0, 0]
    assert [d.stderr for d in done] == ["", ""]
    assert done[0].stdout == done[1].stdout
    shown = [line.split()[0] for line in done[0].stdout.splitlines() if line.startswith("  --")]
    assert set(NEEDED[command]) <= set(shown)
    assert done[0].stdout.startswith(f"rats {command} ")
    assert max(map(len, done[0].stdout.splitlines())) <= 100


@pytest.mark.processes
def test_the_version():
    for way in (("rats_jax", "--version"), ("rats_jax.train", "--version")):
        done = python(*way)
        assert done.returncode == 0 and done.stdout.startswith(f"rats_jax {__version__} (Python 3")


@pytest.mark.processes
def test_the_commands_are_listed_and_a_wrong_one_is_named():
    for way in ((), ("-h",), ("--help",)):
        done = python("rats_jax", *way)
        assert done.returncode == 0 and all(f"  {name} " in done.stdout for name in COMMANDS)
    done = python("rats_jax", "evalute")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown command 'evalute': did you mean evaluate?\n"


@pytest.mark.processes
@pytest.mark.parametrize("command", ["rats_jax", "rats_jax.train", "rats_jax.plan"])
@pytest.mark.parametrize("closing", [">&-", ">&- 2>&-", "| true"])
def test_output_that_nobody_reads_is_no_error(command, closing):
    line = f"{shlex.quote(sys.executable)} -m {command} --help {closing}"
    line = f"set -o pipefail; {line}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.processes
def test_the_default_recipe_is_shown_by_its_name():
    shown = python("rats_jax.demo", "--help").stdout
    assert "Default: demo." in shown and "!!python" not in shown


def test_every_module_with_a_main_is_a_command():
    scripts = [f for f in ROOT.glob("rats_jax/*.py") if "command_line.run(" in f.read_text()]
    assert {f.stem for f in scripts} == COMMANDS.keys()


@pytest.mark.processes
def test_hyphens_and_underscores_are_one_flag():
    for spelling in ("--skip-broken", "--skip_broken", "--noskip-broken", "--top-k=8"):
        done = python("rats_jax.evaluate", spelling, "--nothing")
        assert done.stderr.startswith("error: unknown flag --nothing:"), spelling
    done = python("rats_jax.evaluate", "--regions=my-maps=a-b", "--top-k=x", "--nothing")
    assert done.stderr.startswith("error: unknown flag --nothing:")


@pytest.mark.processes
def test_a_message_with_a_line_end_in_it_is_one_line():
    done = python("rats_jax.train", "--config=a\nb\udce9.py", "--workdir=w")
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"error: --config=a\\nb\\udce9.py does not exist in {ROOT}: name a recipe by its path, or "
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "\\xe9 \\udce9"), ("utf-8", "\xe9 \\udce9")]
)
def test_a_report_fits_any_output(encoding, shown, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    say("\xe9 \udce9")
    assert written.getvalue().decode(encoding) == f"{shown}\n"
