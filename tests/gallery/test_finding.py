"""Which images --images means: folders, files, patterns, lists, home directories, odd names."""

import os
from pathlib import Path

import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.gallery.finding import find_images, folders_of, spread


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "below/c.webp", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 4), "red").save(path)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def names(*given: str | Path) -> list[str]:
    return [name for name, _ in find_images([str(one) for one in given])]


def test_a_folder_gives_its_images_and_those_below(folder):
    assert names(folder) == ["a.JPG", "b.png", "below/c.webp"]


def test_images_of_other_formats_are_counted(folder, capsys):
    for name in ("x.gif", "below/y.heic", "z.HEIC"):
        (folder / name).write_bytes(b"?")
    assert names(folder) == ["a.JPG", "b.png", "below/c.webp"]
    said = capsys.readouterr().out
    assert "neither JPEG, PNG nor WebP (convert them): 3 (first x.gif)" in said


def test_folders_are_known_that_are_read_whole(folder):
    given = [f"{folder / 'b.png'},{folder / 'below'}", f"{folder}/*.png", str(folder)]
    assert folders_of(given) == [folder / "below", folder]


def test_several_are_named_with_commas_or_by_repeating_the_flag(folder):
    expected = ["b.png", "below/c.webp"]
    assert names(f"{folder / 'b.png'},{folder / 'below'}") == expected
    assert names(folder / "b.png", folder / "below") == expected
    assert names(f"{folder / 'b.png'}, {folder / 'below'},") == expected


def test_an_image_that_is_named_twice_is_drawn_once(folder):
    assert names(f"{folder},{folder / 'b.png'},{folder}/*.png") == [
        "a.JPG",
        "b.png",
        "below/c.webp",
    ]


@pytest.mark.parametrize("name", ["x,y.png", "*.png", "[1].png", "?.png", " .png", "a, b,.png"])
def test_a_name_that_exists_is_taken_for_itself(folder, name):
    path = folder / name
    (folder / "b.png").rename(path)
    assert find_images([str(path)]) == [(name, path)]
    assert names(f"{path},{folder / 'a.JPG'}") == [name, "a.JPG"]


def test_patterns_find_images(folder):
    assert names(f"{folder}/*.png") == ["b.png"]
    assert names(f"{folder}/*") == ["a.JPG", "b.png", "below/c.webp"]  # and no notes.txt
    assert names(f"{folder}/**/*.webp") == ["c.webp"]
    assert names(f"{folder}/[ab].*,{folder}/bel*") == ["a.JPG", "b.png", "below/c.webp"]


def test_a_pattern_finds_files_of_any_ending_where_no_image_matches(folder):
    (folder / "b.png").rename(folder / "b.tif")
    assert names(f"{folder}/*.tif") == ["b.tif"]


def test_a_folder_with_brackets_in_its_name_may_hold_what_a_pattern_finds(folder):
    (folder / "below").rename(folder / "set [old]")
    assert names(f"{folder}/set [old]/*.webp") == ["c.webp"]


def test_home_directories_are_found_in_every_form(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/b.png,~/below") == ["b.png", "below/c.webp"]
    assert names("~/*.png") == ["b.png"]
    assert names("~") == ["a.JPG", "b.png", "below/c.webp"]
    (folder / "list.txt").write_text("~/b.png\n")
    assert names("~/list.txt") == ["b.png"]


def test_a_list_has_a_name_in_each_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    lines = b"\xef\xbb\xbfbelow\r\n\r\n*.JPG\nx,y.png\ngone.png\ncaf\xe9.png\n"
    (folder / "list.txt").write_bytes(lines)
    (folder / "b.png").rename("x,y.png")
    # What does not exist is left out, or not, like any other image that cannot be read.
    expected = ["below/c.webp", "a.JPG", "x,y.png", "gone.png", "caf\udce9.png"]
    assert names("list.txt") == expected
    (folder / "list.txt").write_bytes(b"\x89PNG\0\0")
    with pytest.raises(UserError, match="list.txt is not a list of names"):
        names("list.txt")


def test_names_that_are_not_utf_8_are_found(folder):
    (folder / "b.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    for given in (folder, f"{folder}/*.png", f"{folder}/caf\udce9.png"):
        assert "caf\udce9.png" in names(given)


@pytest.mark.parametrize(
    "given, message",
    [
        ("", "contains no image; expected"),
        ("z", "z does not exist"),
        ("z*", r"z\* matches no image"),
        ("z" * 300, "does not exist"),
        ("new\nline", r"new\\nline does not exist"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        names(tmp_path / given)


@pytest.mark.parametrize("given", ["~no-such-user/x.png", "~no-such-user/*.png"])
def test_a_home_directory_that_does_not_exist_is_named(given):
    with pytest.raises(UserError, match="~no-such-user/.*png"):
        names(given)


def test_commas_alone_do_not_mean_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="--images matches no image"):
        names(" , ,")


def test_a_list_of_names_may_be_longer_than_any_file_name(folder):
    for i in range(200):
        (folder / f"{i}.png").touch()
    assert len(names(",".join(str(folder / f"{i}.png") for i in range(200)))) == 200


def test_a_limit_takes_images_from_everywhere():
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 8) == [0, 1, 2]
    assert len(spread(10_000, 999)) == 999
