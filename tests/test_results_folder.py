"""A folder of results is there whole, or not at all."""

import pytest

from rats_jax.errors import UserError
from rats_jax.results_folder import check_outside, file_names, free_folder, new_folder


def test_a_new_folder_an_empty_one_and_a_link_to_one_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("new", "deep/er", "link"):
        with new_folder(free_folder(tmp_path / name)) as folder:
            (folder / "file").write_text(name)
        assert (tmp_path / name / "file").read_text() == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "link", "new"]


@pytest.mark.parametrize("name", ["x" * 255, "中" * 85, "caf\udce9", "new\nline", "a b%#'\""])
def test_a_folder_may_have_any_name(tmp_path, name):
    with new_folder(free_folder(tmp_path / name)) as folder:
        (folder / "file").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_two_images_share_a_file_name():
    names = ["a/x.jpg", "a_x.png", "A/X.jpg", "a_x_2.jpg", "über all.png", "...", "x?y.png"]
    stems = file_names(names)
    assert len({stem.lower() for stem in stems}) == len(names)
    assert stems[0] == "a_x" and stems[4:] == ["über_all", "image", "x_y"]


def test_a_file_name_fits_any_file_system(tmp_path):
    names = ["x" * 255, "中" * 85, "𝕏" * 63, "caf\udce9.png", "new\nline.png", "<script>'%#.png"]
    for stem in file_names(names * 2):
        (tmp_path / f"{stem}.png").touch()
    assert len(list(tmp_path.iterdir())) == 12
    (first, second) = file_names(["Straße.png", "STRASSE.png"])  # one name without case
    assert (first, second) == ("Straße", "STRASSE_2")


def test_ten_thousand_images_of_one_name_have_a_name_each():
    stems = file_names(["?.png", *[f"{'?' * i}.png" for i in range(2, 9)], *["x.png"] * 10_000])
    assert len(set(stems)) == 10_008


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match="already exists: choose a new folder"):
            free_folder(taken)


def test_results_among_what_is_read_are_refused(tmp_path):
    images, out = tmp_path / "images", tmp_path / "images" / "deep" / "out"
    (images / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(images)
    check_outside(free_folder(tmp_path / "images_out"), [images])
    for folder in (
        images,
        images / "deep",
        tmp_path / "link",
        tmp_path / "images" / ".." / "images",
    ):
        with pytest.raises(UserError, match="would read its own results; choose a folder outside"):
            check_outside(free_folder(out), [folder])


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
    with pytest.raises(UserError, match="already exists") as refused:
        free_folder(tmp_path / name)
    assert str(refused.value).isprintable()


def test_names_of_files_are_short_enough_in_any_script(tmp_path):
    names = ["日" * 80 + ".jpg", "日" * 80 + ".png", "é" * 120, "caf\udce9", "." * 9]
    for stem in file_names(names):
        (tmp_path / f"{stem}.regions.png").touch()
    assert len(list(tmp_path.iterdir())) == len(names)


def test_too_long_a_name_fails_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="cannot be made"), new_folder(tmp_path / ("x" * 300)):
        pytest.fail("all would be written for nothing")
