"""What a folder of images gives."""

import os

import pytest

from rats_jax.data.sources import ImageFolder
from rats_jax.errors import UserError


def write(path, data: bytes = b"not decoded here"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_files_are_sorted_by_relative_path_with_labels_of_first_level_folders(tmp_path):
    for name in ("b/2.PNG", "b/10.jpeg", "a/deep/er/x.JPG", "c/y.webp", "b/.hidden.png"):
        write(tmp_path / name, name.encode())
    for name in ("a/notes.txt", ".thumbnails/z.png", "empty/readme.md"):
        write(tmp_path / name)
    source = ImageFolder(tmp_path)
    assert source.files == ["a/deep/er/x.JPG", "b/10.jpeg", "b/2.PNG", "c/y.webp"]
    assert source.classes == ["a", "b", "c"]
    assert [source[i] for i in range(len(source))] == [
        (name.encode(), label) for name, label in zip(source.files, (0, 1, 1, 2), strict=True)
    ]


def test_a_flat_folder_has_the_label_zero(tmp_path):
    write(tmp_path / "2.jpg")
    write(tmp_path / "1.jpg")
    source = ImageFolder(str(tmp_path))
    assert source.files == ["1.jpg", "2.jpg"] and [source[i][1] for i in (0, 1)] == [0, 0]


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
    os.symlink(tmp_path / "data", tmp_path / "data" / "loop")
    assert ImageFolder(tmp_path / "data").files == ["link/1.jpg"]


def test_a_bad_path_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"data.path .*nowhere does not exist; "):
        ImageFolder(tmp_path / "nowhere")
    write(tmp_path / "file.jpg")
    with pytest.raises(UserError, match="is not a folder"):
        ImageFolder(tmp_path / "file.jpg")
    write(tmp_path / "empty" / "a.txt")
    with pytest.raises(UserError, match="holds no image"):
        ImageFolder(tmp_path / "empty")


def test_a_folder_that_cannot_be_listed_is_a_users_mistake(tmp_path, monkeypatch):
    # Permissions do not bind root, who runs the tests in many containers.
    scandir = os.scandir

    def denied(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    write(tmp_path / "a" / "1.jpg")
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"cannot list .*locked: Permission denied; "):
        ImageFolder(tmp_path)
