"""Images found, read, and brought to whole patches."""

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.pictures.images import find_images, read_image, resized
from rats_jax.results_folder import file_names


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "below/c.webp", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 4), "red").save(path)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_gives_its_images_and_those_below(folder):
    assert [name for name, _ in find_images(str(folder))] == ["a.JPG", "b.png", "below/c.webp"]


def test_several_are_named_with_commas(folder):
    found = find_images(f"{folder / 'b.png'},{folder / 'below'}")
    assert [path.name for _, path in found] == ["b.png", "c.webp"]


def test_a_comma_may_be_in_the_name_of_one(folder):
    path = folder / "x,y.png"
    (folder / "b.png").rename(path)
    assert find_images(str(path)) == [("x,y.png", path)]


@pytest.mark.parametrize("name, message", [("", "holds no image"), ("z", "z is not there")])
def test_what_is_no_image_is_told(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        find_images(str(tmp_path / name))


def test_a_file_that_is_no_image_is_named(folder):
    with pytest.raises(UserError, match=r"notes\.txt cannot be shown \(not an image"):
        read_image(folder / "notes.txt")


@pytest.mark.parametrize(
    "height, width, expected",
    [(300, 200, (512, 336)), (200, 300, (336, 512)), (40, 40, (512, 512)), (1000, 5, (512, 16))],
)
def test_sides_are_whole_patches_and_the_aspect_is_kept(height, width, expected):
    image = np.zeros((height, width, 3), np.uint8)
    assert resized(image, resolution=512, patch=16).shape == (*expected, 3)


def test_no_two_images_share_a_file_name():
    names = ["a/x.jpg", "a_x.png", "A/X.jpg", "a_x_2.jpg", "über all.png", "...", "x?y.png"]
    stems = file_names(names)
    assert len({stem.lower() for stem in stems}) == len(names)
    assert stems[0] == "a_x" and stems[4:] == ["über_all", "image", "x_y"]


def test_a_list_may_be_longer_than_any_file_name(folder):
    path = folder / "b.png"
    assert len(find_images(",".join([str(path)] * 200))) == 200
