"""Files of every kind become the right pixels, by the exact decoder and by the fast one."""

import io

import numpy as np
import pytest
from PIL import Image

from rats_jax.data import decode as module
from rats_jax.data.decode import UnreadableImage, decode, decode_fast

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
both = pytest.mark.parametrize("read", [decode, decode_fast], ids=["exact", "fast"])


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """Smooth shapes with a little noise, as JPEG was made for."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(9 * x + 5 * y + c) * np.cos(7 * y - 3 * x * c) for c in range(3)]
    noise = RNG.normal(0, 4, (height, width, 3))
    return Image.fromarray((127 + 90 * np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8))


@both
@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_rgb_comes_back_as_it_was(kind, options, read):
    assert np.array_equal(read(encoded(Image.fromarray(PIXELS), kind, **options)), PIXELS)


@both
def test_jpeg_is_decoded_as_pillow_does(read):
    data = encoded(Image.fromarray(PIXELS), "JPEG")
    assert np.array_equal(read(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@both
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, read):
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
    assert np.array_equal(read(encoded(Image.fromarray(PIXELS), exif=exif)), upright)


@both
def test_damaged_exif_does_not_cost_the_image(read):
    damaged = encoded(Image.fromarray(PIXELS), exif=b"Exif\0\0" + b"garbage " * 4)
    with pytest.raises(SyntaxError):
        Image.open(io.BytesIO(damaged)).getexif()
    assert np.array_equal(read(damaged), PIXELS)


@both
def test_grayscale_and_palette_become_rgb(read):
    gray = PIXELS[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(read(encoded(Image.fromarray(gray))), expected)
    assert np.array_equal(read(encoded(Image.fromarray(gray).convert("P"))), expected)
    bits = read(encoded(Image.fromarray(gray > 127)))
    assert np.array_equal(bits[..., 0], np.where(gray > 127, 255, 0))


@both
def test_cmyk_jpeg_becomes_rgb(read):
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    data = encoded(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=100)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(read(data).astype(int) - flat).max() <= 3


@both
def test_of_sixteen_bits_the_high_byte_is_kept(read):
    deep = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)
    expected = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(read(encoded(Image.fromarray(deep))), expected)


@both
def test_transparency_is_laid_on_white(read):
    alpha = RNG.integers(0, 256, (6, 9, 1), dtype=np.uint8)
    expected = (PIXELS * (alpha / 255) + 255 * (1 - alpha / 255)).round()
    rgba = read(encoded(Image.fromarray(np.concatenate([PIXELS, alpha], -1))))
    assert np.abs(rgba - expected).max() <= 1
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert read(encoded(palette, transparency=0)).tolist() == [[[255] * 3, [40, 50, 60]]]


@both
def test_a_damaged_file_is_reported_as_unreadable(read):
    whole = encoded(Image.fromarray(np.tile(PIXELS, (20, 20, 1))), "JPEG")
    for damaged in (b"", b"not an image", whole[: len(whole) // 2], whole[:30]):
        with pytest.raises(UnreadableImage):
            read(damaged)
    with pytest.raises(UnreadableImage, match="floating-point"):
        read(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


@both
def test_arrays_pass_through_but_are_checked(read):
    assert read(PIXELS) is PIXELS
    for wrong in (PIXELS.astype(np.float32), PIXELS[..., 0], PIXELS[..., :2]):
        with pytest.raises(ValueError, match="uint8"):
            read(wrong)


PLAIN = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "restart markers": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
}


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_jpegs_come_out_the_same_bit_for_bit_without_pillow(monkeypatch, options, mode):
    data = encoded(photo(161, 97).convert(mode), "JPEG", **options)
    expected = decode(data)
    monkeypatch.setattr(module, "decode", None)  # the fast path must not need it
    assert np.array_equal(decode_fast(data), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_fast_decoder_turns_jpegs_as_pillow_does(monkeypatch, orientation):
    exif = Image.Exif()
    exif[module.ORIENTATION] = orientation
    data = encoded(photo(40, 24), "JPEG", exif=exif)
    expected = decode(data)
    monkeypatch.setattr(module, "decode", None)
    out = decode_fast(data)
    assert np.array_equal(out, expected) and out.flags.c_contiguous


@pytest.mark.parametrize("padding", [b"", b"\xff\xff"])
def test_an_orientation_behind_other_metadata_is_found(padding):
    exif = Image.Exif()
    exif[module.ORIENTATION] = 6
    data = encoded(photo(40, 24), "JPEG", exif=exif, comment=b"Exif" * 16_000)
    at = data.index(b"\xff\xe1")  # the EXIF segment goes behind a large one, and behind padding
    size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    exif_segment, data = data[at : at + size], data[:at] + data[at + size :]
    at = data.index(b"\xff\xdb")
    data = data[:at] + padding + exif_segment + data[at:]
    assert decode(data).shape == (40, 24, 3)
    assert np.array_equal(decode_fast(data), decode(data))


def test_an_orientation_in_xmp_counts_as_pillow_counts_it():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(photo(40, 24), "JPEG", xmp=xmp)
    assert np.array_equal(decode_fast(data), decode(data))


@pytest.mark.parametrize("longer, reduction", [(127, 1), (128, 2), (255, 2), (256, 4), (520, 8)])
def test_large_jpegs_are_decoded_at_the_smallest_size_that_is_enough(longer, reduction):
    original = photo(longer, longer // 2)
    data = encoded(original, "JPEG", quality=95)
    out = decode_fast(data, longer=64)
    assert decode_fast(data, shorter=32).shape == out.shape
    assert decode_fast(data, shorter=64).shape == decode_fast(data, longer=128).shape
    assert out.shape == (-(-(longer // 2) // reduction), -(-longer // reduction), 3)
    averaged = original.reduce(reduction)
    difference = np.abs(out.astype(int) - np.asarray(averaged)[: out.shape[0], : out.shape[1]])
    assert difference.mean() < 4


def test_a_hundred_megapixels_are_read_and_a_thousand_refused():
    huge = encoded(Image.new("RGB", (12_500, 8_000), (10, 120, 200)), "JPEG")
    out = decode_fast(huge, shorter=1792)
    assert out.shape == (2000, 3125, 3)
    assert decode_fast(huge, longer=512).shape == (1000, 1563, 3)
    assert np.abs(out[::100, ::100].astype(int) - (10, 120, 200)).max() <= 2
    bomb = bytearray(encoded(Image.new("L", (8, 8)), "JPEG"))
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(UnreadableImage, match="60,000 x 60,000 pixels exceed the limit of 268"):
        decode_fast(bytes(bomb), shorter=1792)


@both
def test_one_pixel_is_an_image(read):
    assert read(encoded(Image.new("RGB", (1, 1), (9, 9, 9)), "JPEG")).shape == (1, 1, 3)


@both
def test_bytes_after_the_end_of_a_jpeg_are_ignored(read):
    data = encoded(photo(40, 24), "JPEG")
    assert np.array_equal(read(data + b"trailing garbage"), decode(data))


@both
def test_a_source_that_gives_no_bytes_is_at_fault_not_the_image(read):
    with pytest.raises(TypeError):
        read("a path, perhaps")


WRONG = {
    b"": "an empty file",
    bytes(1000): "a file of zeros",
    b"no image at all": "not an image",
    b"\n<!DOCTYPE html><html>404</html>": "a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:": "a pointer of Git LFS .*",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "HEIC",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1": "AVIF",
    b"\0\0\0\x1cftypisom": "a video",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
}


@both
def test_what_is_not_an_image_is_said_in_words(read):
    for data, message in WRONG.items():
        with pytest.raises(UnreadableImage, match=f"^{message}: none of JPEG, "):
            read(data)


def test_flaws_are_judged_by_pillow_alone():
    data = encoded(photo(200, 120), "JPEG")
    rng = np.random.default_rng(0)
    readable = 0
    for _ in range(60):
        flawed = bytearray(data)
        for _ in range(rng.integers(1, 6)):
            flawed[rng.integers(2, len(data))] = rng.integers(256)
        flawed = bytes(flawed)
        try:
            expected = decode(flawed)
        except UnreadableImage:
            with pytest.raises(UnreadableImage):
                decode_fast(flawed)
        else:
            readable += 1
            assert np.array_equal(decode_fast(flawed), expected)
    assert 0 < readable < 60
