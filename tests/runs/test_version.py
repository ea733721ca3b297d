"""Which code a run is made with."""

import os
import subprocess

import pytest

import rats_jax
from rats_jax.runs import version


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder that stands for the package's."""
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(version, "PACKAGE", folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


def git(folder, *arguments) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@x"]
    return subprocess.check_output(["git", *who, *arguments], cwd=folder, text=True).strip()


def commit(folder) -> str:
    git(folder.parent, "init", "-q")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "-qm", "first")
    return git(folder.parent, "rev-parse", "HEAD")[:12]


@pytest.mark.processes
def test_a_checkout_names_its_commit_and_whether_the_package_was_changed(package):
    expected = f"{rats_jax.__version__} {commit(package)}"
    assert version.code_version() == expected
    (package.parent / "notes.txt").write_text("not of the package")
    assert version.code_version() == expected
    (package / "__init__.py").write_text("x = 1")
    assert version.code_version() == expected + "+changes"


@pytest.mark.processes
def test_git_takes_no_lock_that_a_kill_would_leave(package):
    """`git status` writes the index where it can."""
    commit(package)
    index = package.parent / ".git" / "index"
    os.utime(package / "__init__.py", (1, 1))  # which the index does not know yet
    before = index.read_bytes()
    assert not version.code_version().endswith("+changes")
    assert index.read_bytes() == before


def test_without_a_checkout_it_is_the_version_alone(package):
    assert version.code_version() == rats_jax.__version__


@pytest.mark.processes
def test_a_repository_around_an_installed_package_is_not_its_own(package):
    (package.parent / ".gitignore").write_text("package")
    commit(package)
    assert version.code_version() == rats_jax.__version__


@pytest.mark.processes
def test_without_git_it_is_the_version_alone(package, monkeypatch):
    commit(package)
    monkeypatch.setenv("PATH", str(package))
    assert version.code_version() == rats_jax.__version__
