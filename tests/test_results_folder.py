"""A folder of results is there whole, or not at all."""

import pytest

from rats_jax.errors import UserError
from rats_jax.results_folder import file_names, free_folder, new_folder


def test_a_new_folder_an_empty_one_and_a_link_to_one_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("new", "deep/er", "link"):
        with new_folder(free_folder(tmp_path / name)) as folder:
            (folder / "file").write_text(name)
        assert (tmp_path / name / "file").read_text() == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "link", "new"]


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match="is there already: name a new folder"):
            free_folder(taken)


def test_nothing_is_left_of_a_folder_that_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    for name in ("file/out", "round", "x" * 300):
        with (
            pytest.raises(UserError, match="cannot be made .*: choose another"),
            new_folder(free_folder(tmp_path / name)),
        ):
            pass


@pytest.mark.parametrize("name", ["n" * 250, "日" * 80, "caf\udce9", "line\nend"])
def test_any_name_that_the_file_system_takes_is_filled(tmp_path, name):
    with new_folder(free_folder(tmp_path / name)) as folder:
        (folder / "file").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(UserError, match="is there already") as refused:
        free_folder(tmp_path / name)
    assert str(refused.value).isprintable()


def test_names_of_files_are_short_enough_in_any_script(tmp_path):
    names = ["日" * 80 + ".jpg", "日" * 80 + ".png", "é" * 120, "caf\udce9", "." * 9]
    for stem in file_names(names):
        (tmp_path / f"{stem}.regions.png").touch()
    assert len(list(tmp_path.iterdir())) == len(names)
