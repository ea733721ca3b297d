"""CONTRIBUTING.md is true: the files that it lists for an addition are all that must change.

tests/contributing/additions.py makes a toy of each kind in a copy of the package.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contributing.additions import ADDITIONS, FIELD, Addition, Edit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = {
    heading: text for heading, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)+)", PAGE, re.M)
}
PATHS = re.findall(r"`((?:\w+/)+[\w.*]*)`", PAGE)


def listed(section: str) -> set[str]:
    """The files in the list of a section."""
    return set(re.findall(r"^- `([^`\s]+)`", SECTIONS[section], re.MULTILINE))


@pytest.fixture
def copy(tmp_path) -> Path:
    """The package, and the page of its modules."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rats_jax", tmp_path / "copy/rats_jax", ignore=ignored)
    for path in ("docs/architecture.md", "tests/test_architecture.py"):
        (tmp_path / "copy" / path).parent.mkdir()
        shutil.copy(ROOT / path, tmp_path / "copy" / path)
    return tmp_path / "copy"


def contents(root: Path) -> dict[str, bytes]:
    """Of each file, by its path."""
    files = (file for file in root.rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


def changed(addition: Addition, copy: Path) -> set[str]:
    """The files that an addition to the copy changes."""
    before = contents(copy)
    addition.apply(copy)
    after = contents(copy)
    return {path for path in after if after[path] != before.get(path)}


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: addition.section)
def test_the_listed_files_are_those_that_an_addition_changes(addition, copy):
    paths = {path.replace("NAME", addition.name) for path in listed(addition.section)}
    assert paths - {p for p in paths if p.startswith("tests/")} == changed(addition, copy)


def test_every_list_is_of_an_addition_that_is_made_here():
    assert {section for section in SECTIONS if listed(section)} == {a.section for a in ADDITIONS}


def test_every_path_on_the_page_exists():
    assert len(PATHS) > 25
    assert [p for p in PATHS if "NAME" not in p and not any(ROOT.glob(p))] == []


def test_an_edit_of_a_file_that_has_changed_is_an_error_that_says_what_to_do(copy):
    lost = Edit("rats_jax/errors.py", "no such line", "")
    addition = Addition(section=FIELD.section, new={}, edits=(lost,))
    with pytest.raises(AssertionError, match="adapt tests/contributing/additions.py"):
        addition.apply(copy)


@pytest.mark.processes
def test_all_additions_work_together_with_no_other_change(copy, tmp_path):
    for addition in ADDITIONS:
        addition.apply(copy)
    rules = runpy.run_path(str(copy / "tests/test_architecture.py"))
    rules["test_every_module_is_listed_in_its_folder"]()
    rules["test_every_import_obeys_the_rules_of_rooms"]()
    command = [sys.executable, "-m", "tests.contributing.use_all", copy, tmp_path]
    environment = os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
