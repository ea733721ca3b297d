"""What a folder of images gives."""

import os

import pytest

from rats_jax.data.sources import ImageFolder, OfOtherKind, walk
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


NO_FOLDERS = {
    "a.jpg": "",
    "list.txt": "",
    "x.tar": "",
    "x.zip": ": unpack it first",
    "x.tar.gz": ": unpack it first",
    "x.TGZ": ": unpack it first",
}


def test_a_bad_path_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; "):
        ImageFolder(tmp_path / "nowhere")
    for name, remedy in NO_FOLDERS.items():
        write(tmp_path / name)
        with pytest.raises(
            UserError, match=f"{name} is not a folder; give a folder of images{remedy}$"
        ):
            ImageFolder(tmp_path / name)
    with pytest.raises(OfOtherKind) as error:
        ImageFolder(tmp_path / "x.tar")
    assert error.value.kind == "tar"
    write(tmp_path / "empty" / "a.txt")
    with pytest.raises(UserError, match="contains no image"):
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


def test_what_a_folder_holds_beside_images_is_counted_and_named(tmp_path):
    for name in ("a/1.jpg", "a/2.JFIF", "a/3.jpe", "a/._1.jpg", "a/b.TIFF", "b/c.heic", "x.zip"):
        write(tmp_path / name)
    for name in ("notes.txt", "a/labels.csv"):
        write(tmp_path / name)
    (tmp_path / "a" / "folder.jpg").mkdir()
    source = ImageFolder(tmp_path)
    assert source.files == ["a/1.jpg", "a/2.JFIF", "a/3.jpe"]
    (note,) = source.notes
    assert note.startswith(f"warning: skipped in {tmp_path}: ")
    for part in (
        "archives (unpack them): 1 (first x.zip)",
        "images that are neither JPEG, PNG nor WebP (convert them): 2 (first a/b.TIFF)",
        "hidden files: 1 (first a/._1.jpg)",
        "other files: 2 (first notes.txt)",
    ):
        assert part in note
    assert "folder.jpg" not in note


def test_nothing_is_said_of_a_folder_of_images_alone(tmp_path):
    write(tmp_path / "a/1.jpg")
    assert ImageFolder(tmp_path).notes == []


def test_links_to_nothing_and_folders_listed_twice_are_named(tmp_path):
    write(tmp_path / "data" / "cats" / "1.jpg")
    os.symlink(tmp_path / "data" / "cats", tmp_path / "data" / "dogs")
    os.symlink("/mnt/gone", tmp_path / "data" / "horses")
    os.symlink("/mnt/gone/2.jpg", tmp_path / "data" / "cats" / "2.jpg")
    os.symlink("3.jpg", tmp_path / "data" / "cats" / "3.jpg")  # to itself
    os.symlink("/mnt/gone", tmp_path / "data" / ".#lock")
    source = ImageFolder(tmp_path / "data")
    assert source.files == ["cats/1.jpg"]
    (note,) = source.notes
    assert "broken links: 3 (first horses)" in note
    assert "hidden files: 1 (first .#lock)" in note
    assert "folders that were already listed under another path: 1 (first dogs)" in note
    # Who does not count what is passed over has links to nothing to read.
    assert "cats/2.jpg" in walk(tmp_path / "data")


def test_what_is_no_file_is_never_read(tmp_path):
    write(tmp_path / "elsewhere.jpg")
    write(tmp_path / "data" / "a" / "1.jpg")
    os.symlink(tmp_path / "elsewhere.jpg", tmp_path / "data" / "a" / "2.jpg")
    for name in ("pipe.jpg", ".pipe.jpg"):
        os.mkfifo(tmp_path / "data" / "a" / name)
    os.symlink("pipe.jpg", tmp_path / "data" / "a" / "to_pipe.png")
    os.symlink("/dev/zero", tmp_path / "data" / "zero.jpg")
    source = ImageFolder(tmp_path / "data")
    assert source.files == list(walk(tmp_path / "data")) == ["a/1.jpg", "a/2.jpg"]
    (note,) = source.notes
    assert "pipes, devices and other special files: 3 (first zero.jpg)" in note
    assert "hidden files: 1 (first a/.pipe.jpg)" in note


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i}.tar")
    with pytest.raises(
        UserError, match=r"contains no image; .*the source tar .*: 3 \(first 0.tar\)"
    ):
        ImageFolder(tmp_path)


ODD = {
    ("train/a", "val/a"): "warning: train/, val/ look like splits",
    ("Test/a", "Training/b", "valid/c"): "warning: Test/, Training/, valid/ look like splits",
    ("images", "masks"): "warning: images/, masks/ look like images and masks",
    (
        "JPEGImages",
        "SegmentationClass",
    ): "warning: JPEGImages/, SegmentationClass/ look",
    ("set/a", "set/b"): "all images are in set/, so its 2 folders count as one class",
    ("a", "train"): None,
    ("a", "b/c"): None,
    ("one/a",): None,
}


@pytest.mark.parametrize(("folders", "note"), ODD.items(), ids=["+".join(each) for each in ODD])
def test_folders_that_are_hardly_classes_are_named(tmp_path, folders, note):
    for name in folders:
        write(tmp_path / name / "1.png")
    assert [each.startswith(note) for each in ImageFolder(tmp_path).notes] == [True] * bool(note)


def test_a_url_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="gs://bucket/images is a URL; copy or mount the data"):
        ImageFolder("gs://bucket/images")


def test_the_home_directory_is_meant_by_a_tilde(tmp_path, monkeypatch):
    write(tmp_path / "images" / "1.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ImageFolder("~/images").files == ["1.jpg"]
    with pytest.raises(UserError, match="^~nobody_of_this_name/x does not exist"):
        ImageFolder("~nobody_of_this_name/x")
