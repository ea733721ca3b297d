"""Files are written whole or not at all; a lock is one process's."""

import subprocess
import sys

import pytest

from rats_jax.files import lock, replacing, settle, write_whole


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_when_all_of_it_is_written(tmp_path, durable):
    file = tmp_path / "results.json"
    write_whole(file, "old", durable=durable)
    with replacing(file, durable=durable) as new:
        new.write_text("new")
        assert file.read_text() == "old" and new.parent == file.parent
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    file = tmp_path / "results.json"
    file.write_text("old")
    with pytest.raises(error), replacing(file) as new:
        new.write_text("ne")
        raise error
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_never_was_written_is_an_error_and_keeps_the_old_one(tmp_path):
    file = tmp_path / "results.json"
    file.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(file):
        pass
    assert file.read_text() == "old"


def test_a_path_of_ones_own_is_written_to(tmp_path):
    own = tmp_path / "index.17"
    with replacing(tmp_path / "index", new=own) as new:
        assert new == own
        new.write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_text_is_utf_8_and_bytes_of_names_come_back(tmp_path):
    write_whole(tmp_path / "names", "café caf\udce9\n")
    assert (tmp_path / "names").read_bytes() == "café ".encode() + b"caf\xe9\n"
    write_whole(tmp_path / "names", b"\xe9")
    assert (tmp_path / "names").read_bytes() == b"\xe9"


def test_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("os.fsync", lambda _: calls.append((tmp_path / "file").exists()))
    (tmp_path / "new").write_text("x")
    settle(tmp_path / "new", tmp_path / "file")
    assert calls == [False, True]  # of the content, then of the name


LOCKS = """
import sys
from rats_jax.files import lock
with open(sys.argv[1], "a") as file:
    print(lock(file))
"""


@pytest.mark.processes
def test_one_process_has_the_lock_until_it_ends(tmp_path):
    def asked() -> str:
        command = [sys.executable, "-c", LOCKS, tmp_path / "lock"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    with (tmp_path / "lock").open("a") as file:
        assert lock(file)
        assert asked() == "False"
    assert asked() == asked() == "True"
