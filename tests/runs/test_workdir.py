"""The directory of a run by any name that people give it, and what a start does to its config."""

import json
import os
from pathlib import Path

import jax
import pytest

from rats_jax.errors import UserError
from rats_jax.runs.compilation_cache import keep_compiled_programs
from rats_jax.runs.guards.unreadable import Unreadable
from rats_jax.runs.workdir import folder_of, load_config, open_workdir, sign, write_config
from tests.runs.guards.test_unreadable import Named
from tests.runs.tiny import tiny_config


def opened(path: str, **fields) -> None:
    with open_workdir(path, tiny_config(**fields)):
        pass


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    opened("~/runs/a")
    opened("runs/b")
    opened("./~c")
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["a", "b"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs", "~c"]


@pytest.mark.parametrize("path", ["~nosuchuser/run", "~nosuchuser"])
def test_a_user_who_is_not_there_is_named(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="~nosuchuser.*: there is no such user"):
        opened(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["wd\udce9", "wd\udce9/run", "wd[1]", "back\\slash"])
def test_a_name_that_cannot_hold_checkpoints_is_refused_before_anything_is_made(tmp_path, name):
    with pytest.raises(UserError, match="--workdir .*rename it, or choose another path"):
        opened(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_a_current_directory_of_such_a_name_is_refused_too(tmp_path, monkeypatch):
    (tmp_path / "wd\udce9").mkdir()
    monkeypatch.chdir(tmp_path / "wd\udce9")
    with pytest.raises(UserError, match=r"--workdir .*wd\\udce9/run is not valid UTF-8"):
        opened("run")


@pytest.mark.parametrize("name", ["with space", "100%", "a#b?c", "日本", "a=b", "-x", "line\nend"])
def test_other_names_are_taken(tmp_path, name):
    opened(str(tmp_path / name))
    assert load_config(folder_of(str(tmp_path / name))).model.width == 24


def test_a_config_holds_names_that_are_not_utf8(tmp_path):
    path = "/data/caf\udce9"
    opened(str(tmp_path), data__path=path)
    (tmp_path / "config.json").read_bytes().decode("utf-8")
    assert load_config(tmp_path).data.path == path
    assert os.fsencode(load_config(tmp_path).data.path) == b"/data/caf\xe9"


def test_a_start_that_is_refused_leaves_the_config_of_the_last_one(tmp_path):
    opened(str(tmp_path))
    before = (tmp_path / "config.json").read_bytes()
    with (
        pytest.raises(ZeroDivisionError),
        open_workdir(str(tmp_path), tiny_config(run__log_every=9)),
    ):
        raise ZeroDivisionError
    assert (tmp_path / "config.json").read_bytes() == before
    write_config(tmp_path, tiny_config(run__log_every=9))
    assert json.loads((tmp_path / "config.json").read_text())["run"]["log_every"] == 9


@pytest.mark.parametrize("write", [sign, lambda workdir: write_config(workdir, tiny_config())])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, write):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"--workdir .* cannot be used \(No space left on device"):
        write(tmp_path)


def test_the_compilation_cache_takes_a_tilde_and_refuses_what_is_not_utf8(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        keep_compiled_programs("~/cache")
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
        with pytest.raises(UserError, match="config.run.compilation_cache .* is not valid UTF-8"):
            keep_compiled_programs(str(tmp_path / "wd\udce9"))
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_reason_of_any_bytes_is_one_line(tmp_path, capsys):
    unreadable = Unreadable(Named("a.jpg"), tmp_path, max_share=1.0, start=1)
    unreadable.add({0: "no such\nfile: caf\udce9"}, replaced=1, drawn=10)
    assert unreadable.file.read_text("utf-8") == "a.jpg\tno such\\nfile: caf\\udce9\n"
    assert capsys.readouterr().out.count("\n") == 1
