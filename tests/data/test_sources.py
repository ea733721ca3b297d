"""What a folder of images gives, and what becomes of unusual files."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from rats_jax.data.sources import ImageFolder, UnreadableImage, decode
from rats_jax.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


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


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_rgb_comes_back_as_it_was(kind, options):
    assert np.array_equal(decode(encoded(Image.fromarray(PIXELS), kind, **options)), PIXELS)


def test_jpeg_is_decoded_as_pillow_does():
    data = encoded(Image.fromarray(PIXELS), "JPEG")
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(encoded(Image.fromarray(PIXELS), exif=exif)), upright)


def test_damaged_exif_does_not_cost_the_image():
    damaged = encoded(Image.fromarray(PIXELS), exif=b"Exif\0\0" + b"garbage " * 4)
    with pytest.raises(SyntaxError):
        Image.open(io.BytesIO(damaged)).getexif()
    assert np.array_equal(decode(damaged), PIXELS)


def test_grayscale_and_palette_become_rgb():
    gray = PIXELS[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(decode(encoded(Image.fromarray(gray))), expected)
    assert np.array_equal(decode(encoded(Image.fromarray(gray).convert("P"))), expected)
    bits = decode(encoded(Image.fromarray(gray > 127)))
    assert np.array_equal(bits[..., 0], np.where(gray > 127, 255, 0))


def test_cmyk_jpeg_becomes_rgb():
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    data = encoded(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=100)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(decode(data).astype(int) - flat).max() <= 3


def test_of_sixteen_bits_the_high_byte_is_kept():
    deep = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)
    expected = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(decode(encoded(Image.fromarray(deep))), expected)


def test_transparency_is_laid_on_white():
    alpha = RNG.integers(0, 256, (6, 9, 1), dtype=np.uint8)
    expected = (PIXELS * (alpha / 255) + 255 * (1 - alpha / 255)).round()
    rgba = decode(encoded(Image.fromarray(np.concatenate([PIXELS, alpha], -1))))
    assert np.abs(rgba - expected).max() <= 1
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert decode(encoded(palette, transparency=0)).tolist() == [[[255] * 3, [40, 50, 60]]]


def test_a_damaged_file_is_reported_as_unreadable():
    whole = encoded(Image.fromarray(np.tile(PIXELS, (20, 20, 1))), "JPEG")
    for damaged in (b"", b"not an image", whole[: len(whole) // 2], whole[:30]):
        with pytest.raises(UnreadableImage):
            decode(damaged)
    with pytest.raises(UnreadableImage, match="floating-point"):
        decode(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


def test_arrays_pass_through_but_are_checked():
    assert decode(PIXELS) is PIXELS
    for wrong in (PIXELS.astype(np.float32), PIXELS[..., 0], PIXELS[..., :2]):
        with pytest.raises(ValueError, match="uint8"):
            decode(wrong)
