"""A path means the same however it is written, and wherever a run is resumed."""

import json
from pathlib import Path

import pytest
from PIL import Image

from rats_jax.assemble import with_absolute_path
from rats_jax.errors import UserError
from rats_jax.runs import loop
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from tests.runs.checkpoints.checkpoints import LIKE, assert_equal, make_state, save
from tests.runs.tiny import tiny_config


@pytest.mark.parametrize("written", ["run", "./run", "a/../run", "a//../run/"])
def test_a_checkpoint_is_read_however_its_folder_is_written(tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "run").mkdir()
    with Checkpoints(tmp_path / "run") as checkpoints:
        save(checkpoints, 3)
    with Checkpoints(Path(written)) as checkpoints:
        found = checkpoints.restore(LIKE)
    assert found.step == 3
    assert_equal(found.state, make_state(3))


@pytest.mark.parametrize("written", ["images", "./images/", "sub/../images", "~/images"])
def test_the_path_of_the_data_is_kept_as_an_absolute_one(tmp_path, monkeypatch, written):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "sub").mkdir()
    config = tiny_config(data__source="image_folder", data__path=written)
    assert with_absolute_path(config).data.path == str(tmp_path / "images")
    assert config.data.path == written  # the caller's own


def test_a_pattern_and_a_link_keep_their_meaning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    for written, kept in (("in-{0..9}.tar", "in-{0..9}.tar"), ("link/../x", "link/../x")):
        config = tiny_config(data__source="tar", data__path=written)
        assert with_absolute_path(config).data.path == f"{tmp_path}/{kept}"
    config = tiny_config(data__source="tar", data__path="gs://x/y.tar")
    assert with_absolute_path(config).data.path == "gs://x/y.tar"


def images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i in range(16):
        Image.new("RGB", (20, 24), (15 * i, 0, 0)).save(folder / f"{i}.png")


class Opened(Exception):
    """In place of a run: the config that its workdir is opened with."""


def test_a_run_keeps_the_absolute_path_and_names_it_where_it_is_not_there(tmp_path, monkeypatch):
    def open_together(path, config, **_):
        raise Opened(config.data.path)

    monkeypatch.setattr(loop, "open_together", open_together)
    images(tmp_path / "one" / "images")
    config = tiny_config(data__source="image_folder", data__length=0, data__path="images")
    monkeypatch.chdir(tmp_path / "one")
    with pytest.raises(Opened, match=f"^{tmp_path}/one/images$"):
        loop.train(config, "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"config.data.path: {tmp_path}/images does not exist"):
        loop.train(config, "run")


@pytest.mark.slow
def test_a_run_is_resumed_from_another_folder(tmp_path, monkeypatch, capsys):
    images(tmp_path / "one" / "images")
    (tmp_path / "other").mkdir()
    config = tiny_config(data__source="image_folder", data__length=0, run__stop_after=1)
    for folder, path in (("one", "images"), ("other", "../one/images")):
        monkeypatch.chdir(tmp_path / folder)
        config.data.path = path
        loop.train(config, "../run")
    said = capsys.readouterr().out
    assert "config.data.path was" not in said and "already at step 1" in said
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["data"]["path"] == str(tmp_path / "one" / "images")
