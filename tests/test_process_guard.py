"""Only tests that are marked `processes` can start one; what is compiled does not grow for ever."""

import os
import subprocess
import sys
from multiprocessing import get_context

import pytest

from tests.compiled import empty_if_larger


def start_a_program() -> int:
    return subprocess.run([sys.executable, "-c", ""]).returncode


def start_a_function() -> int:
    process = get_context("spawn").Process(target=abs, args=(1,))
    process.start()
    process.join()
    return process.exitcode


def start_a_copy() -> int:
    if not (child := os.fork()):
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


STARTS = [start_a_program, start_a_function, start_a_copy]


@pytest.mark.parametrize("start", STARTS)
def test_a_test_without_the_marker_fails_where_it_starts_a_process(start):
    with pytest.raises(pytest.fail.Exception, match="mark the test `pytest.mark.processes`"):
        start()


@pytest.mark.processes
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("start", STARTS)
def test_one_with_it_may(start):
    assert start() == 0


def test_what_takes_milliseconds_may_be_asked_by_all():
    assert subprocess.run(["git", "--version"], capture_output=True).returncode == 0


def test_a_folder_of_programs_that_is_too_large_is_emptied(tmp_path):
    folder = tmp_path / "compiled"
    folder.mkdir()
    (folder / "one-cache").write_bytes(b"12345")
    empty_if_larger(folder, 5)
    assert [file.name for file in folder.iterdir()] == ["one-cache"]
    empty_if_larger(folder, 4)
    assert not folder.exists()
    empty_if_larger(folder, 4)
