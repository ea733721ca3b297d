"""The package: requirements, pins, workflow and citation agree with pyproject.toml, and its wheel
works in another environment, outside the clone."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rats_jax

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def test_every_requirements_file_is_an_extra():
    files = {f.stem.removeprefix("requirements-"): f for f in ROOT.glob("requirements-*.txt")}
    assert files.keys() == EXTRAS.keys() == {"cuda", "tpu", "export", "finetune", "docs", "test"}
    for name, file in files.items():
        assert lines(file) == [f"-e .[{name}]"]
    assert lines(ROOT / "requirements.txt") == ["-e ."]


def test_the_constraints_pin_every_requirement_within_its_bounds():
    pins = {}
    for pin in map(Requirement, lines(ROOT / "constraints.txt")):
        (version,) = pin.specifier
        assert version.operator == "==" and canonicalize_name(pin.name) not in pins
        pins[canonicalize_name(pin.name)] = version.version
    wanted = [*PYPROJECT["project"]["dependencies"], *EXTRAS["test"], *EXTRAS["docs"]]
    wanted = [Requirement(line) for line in [*wanted, *EXTRAS["export"], *EXTRAS["finetune"]]]
    for requirement in wanted:
        if requirement.name != PYPROJECT["project"]["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_workflow_runs_what_there_is():
    """Its targets are in the Makefile, and its jobs hold every test that is marked slow."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    used = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(commands)))
    used |= set(jobs["test"]["strategy"]["matrix"]["target"])
    makefile = (ROOT / "Makefile").read_text()
    assert used == {"lint", "test", "test-processes", "test-slow"}
    assert used <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    covered = [
        ROOT / path
        for paths in jobs["slow"]["strategy"]["matrix"]["paths"]
        for path in paths.split()
    ]
    assert all(path.exists() for path in covered)
    slow = [f for f in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.slow" in f.read_text()]
    assert slow
    assert not [f for f in slow if not any(f.is_relative_to(path) for path in covered)]


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == rats_jax.__version__
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert citation["references"][0]["url"] == PYPROJECT["project"]["urls"]["Paper"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    checks = re.findall(r"^\t\$\(TESTS\)/bin/(\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {hook["entry"].split()[0] for hook in hooks} <= {f".venv-test/bin/{c}" for c in checks}


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, since setuptools leaves folders where it builds."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        ROOT / "rats_jax", copy / "rats_jax", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip("wheel", "--no-deps", "--wheel-dir", copy / "dist", copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [f for f in (ROOT / "rats_jax").rglob("*") if f.is_file() and f.suffix != ".pyc"]
    assert held == {f.relative_to(ROOT).as_posix() for f in files}


@pytest.mark.slow
def test_the_wheel_trains_and_evaluates_outside_the_clone(wheel, tmp_path):
    """In a new environment, which takes all other packages from that of the tests."""
    venv.create(tmp_path / "env", symlinks=True)
    python, rats = tmp_path / "env/bin/python", tmp_path / "env/bin/rats"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    (own,) = (tmp_path / "env").glob("lib/python*/site-packages")
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (own / "others.pth").write_text("\n".join(others))  # .pth files of those folders are not read
    there = tmp_path / "there"
    there.mkdir()

    def run(*command: str | Path) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, cwd=there, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run(python, "-c", "print(__import__('rats_jax').__file__)")).is_relative_to(own)
    assert run(rats, "--version").startswith(f"rats_jax {rats_jax.__version__} (Python 3")
    assert run(rats, "train", "-h") == run(python, "-m", "rats_jax.train", "-h")
    train = ("train", "--config=demo", "--config.run.stop_after=3", "--workdir=run")
    print(run(rats, *train))
    assert (there / "run/checkpoints/3").is_dir()
    evaluate = ("evaluate", "--checkpoint=run", "--dataset=procedural_parts:4")
    print(run(rats, *evaluate, "--output=scores"))
    assert (there / "scores/results.json").is_file()
    # A data worker starts again from what started its parent, here the script `rats`.
    workers = ("--config.data.workers=1", "--config.evaluation.every_epochs=0")
    run(rats, "train", "--config=demo.py", *workers, "--config.run.stop_after=1", "--workdir=two")
    assert (there / "two/checkpoints/1").is_dir()
