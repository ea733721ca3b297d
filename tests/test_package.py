"""What pyproject.toml says of the package: one list of each extra."""

import tomllib
from pathlib import Path

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
