"""Images read, and brought to whole patches."""

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import BrokenImage
from rats_jax.gallery.images import read_image, resized


def test_a_file_that_is_no_image_is_named(tmp_path):
    for name, content in (("notes.txt", "no image"), ("new\nline.png", ""), ("caf\udce9.png", "x")):
        (tmp_path / name).write_text(content)
        with pytest.raises(
            BrokenImage, match=r"cannot be shown \((not an image|an empty file)"
        ) as raised:
            read_image(tmp_path / name)
        assert str(raised.value).isprintable()  # one line, in any file
    with pytest.raises(BrokenImage, match=r"gone.png cannot be shown \(No such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize(
    "height, width, expected",
    [(300, 200, (512, 336)), (200, 300, (336, 512)), (40, 40, (512, 512)), (1000, 5, (512, 16))],
)
def test_sides_are_whole_patches_and_the_aspect_is_kept(height, width, expected):
    image = np.zeros((height, width, 3), np.uint8)
    assert resized(image, resolution=512, patch=16).shape == (*expected, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_any_kind_of_image_is_read(tmp_path, mode):
    pixels = np.full((6, 4), 3, np.uint16) if mode == "I;16" else None
    image = Image.new(mode, (4, 6)) if pixels is None else Image.fromarray(pixels)
    file = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(file)
    assert read_image(file).shape == (6, 4, 3)
