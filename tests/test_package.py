"""What pyproject.toml says of the package: one list of each extra, and versions that fit it."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if not line.startswith("#")]


def test_every_requirements_file_is_an_extra():
    files = {f.stem.removeprefix("requirements-"): f for f in ROOT.glob("requirements-*.txt")}
    assert files.keys() == EXTRAS.keys() == {"cuda", "tpu", "export", "docs", "test"}
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
    wanted = [Requirement(line) for line in [*wanted, *EXTRAS["export"]]]
    for requirement in wanted:
        if requirement.name != PYPROJECT["project"]["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
