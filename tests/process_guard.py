"""Tests that start processes are marked `processes` or `slow`; others fail where they start one."""

import os
import subprocess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import pytest

#: What the package and its libraries ask of the system, and what a hostile file would run; each
#: takes some milliseconds.
QUICK = {"git", "uname", "lscpu", "ldconfig", "gcc", "cc", "objdump", "ld", "touch"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Around the test and the fixtures that it is the first to use."""
    if item.get_closest_marker("processes") or item.get_closest_marker("slow"):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        _refuse(patch, subprocess.Popen, "__init__")
        _refuse(patch, BaseProcess, "start")
        patch.setattr(os, "fork", lambda: _fail("os.fork"))
        return (yield)


def _refuse(patch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    allowed = getattr(owner, method)

    def refusing(self, *arguments, **options):
        program = _program(arguments[0] if arguments else options.get("args"))
        if program not in QUICK:
            _fail(program)
        return allowed(self, *arguments, **options)

    patch.setattr(owner, method, refusing)


def _fail(program: str) -> NoReturn:
    pytest.fail(f"starts a process ({program}): mark the test `pytest.mark.processes`")


def _program(command: object) -> str:
    """The name of what a command runs; "python" for a function in a process of its own."""
    if command is None:
        return "python"
    first = command.split()[0] if isinstance(command, str) else list(command)[0]
    return Path(first).name
