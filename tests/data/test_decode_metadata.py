"""Metadata of any size, or damaged, never decides whether an image can be read."""

import importlib.util
import io
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from rats_jax.data import decode as module
from rats_jax.data.decode import UnreadableImage, decode, decode_fast, open_image
from rats_jax.data.samples import ExactCrops
from tests.data.test_decode import PIXELS, both, encoded, photo
from tests.data.test_samples import SMALL

IMAGE = Image.fromarray(PIXELS)
PHOTO = photo(40, 24)
LARGE = 2 << 20  # bytes: Pillow's limit is half of it


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def png(*before: bytes, after: bytes = b"", image: Image.Image = IMAGE, **options) -> bytes:
    """A PNG with further chunks before the pixels and after them."""
    data = encoded(image, **options)
    pixels, end = data.index(b"IDAT") - 4, data.rindex(b"IEND") - 4
    return data[:pixels] + b"".join(before) + data[pixels:end] + after + data[end:]


def text(size: int = LARGE) -> bytes:
    return zlib.compress(b"a" * size)


def damaged(part: bytes) -> bytes:
    return part[:-1] + bytes([part[-1] ^ 1])  # its checksum


METADATA = {
    "zTXt": (chunk(b"zTXt", b"workflow\0\0" + text()),),
    "iTXt": (chunk(b"iTXt", b"prompt\0\1\0\0\0" + text()),),
    "iTXt, uncompressed": (chunk(b"iTXt", b"prompt\0\0\0\0\0" + b"a" * LARGE),),
    "iCCP": (chunk(b"iCCP", b"printer\0\0" + text()),),
    "tEXt": (chunk(b"tEXt", b"Comment\0" + b"a" * LARGE),),
    "many": (chunk(b"zTXt", b"part\0\0" + text(1 << 19)),) * 3,
    "damaged": (damaged(chunk(b"tEXt", b"Comment\0a")),),
    "no text": (chunk(b"pHYs", b""), chunk(b"sRGB", b"")),
    "private": (chunk(b"caBX", bytes(LARGE)),),
}


@both
@pytest.mark.parametrize("chunks", METADATA.values(), ids=METADATA)
def test_a_png_is_read_whatever_its_metadata(read, chunks, monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1 << 20)  # of all texts, for quick tests
    assert np.array_equal(read(png(*chunks)), PIXELS)
    assert np.array_equal(read(png(after=b"".join(chunks))), PIXELS)


@both
def test_metadata_that_is_cut_short_after_the_pixels_costs_nothing(read):
    data = png(after=METADATA["zTXt"][0])
    assert np.array_equal(read(data[: data.rindex(b"zTXt") + 1000]), PIXELS)
    with pytest.raises(UnreadableImage):
        read(data[: data.index(b"IDAT") + 20])


@both
def test_orientation_and_transparency_are_kept_where_texts_are_not(read):
    exif = Image.Exif()
    exif[module.ORIENTATION] = 6
    assert np.array_equal(read(png(*METADATA["iCCP"], exif=exif)), np.rot90(PIXELS, -1))
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    data = png(*METADATA["zTXt"], image=palette, transparency=0)
    assert read(data).tolist() == [[[255] * 3, [40, 50, 60]]]


@both
def test_an_orientation_in_the_texts_of_a_png_still_counts(read):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    assert np.array_equal(read(encoded(IMAGE, pnginfo=info)), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("kind", ["zTXt", "iCCP"])
def test_a_text_that_would_fill_the_memory_is_not_unpacked(kind):
    data = png(chunk(kind.encode(), b"bomb\0\0" + text(64 << 20)))
    tracemalloc.start()
    try:
        assert np.array_equal(decode(data), PIXELS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


def exif_of(size: int) -> Image.Exif:
    exif = Image.Exif()
    exif[module.ORIENTATION] = 3
    exif[0x927C] = bytes(size)  # a camera's own notes
    return exif


OTHERS = {
    "JPEG, profile": ("JPEG", {"icc_profile": bytes(4 << 20)}),
    "JPEG, EXIF": ("JPEG", {"exif": exif_of(64_000)}),
    "JPEG, XMP": ("JPEG", {"xmp": b"<x/>" * 16_000}),
    "JPEG, comment": ("JPEG", {"comment": b"a" * 65_000}),
    "WebP, XMP": ("WEBP", {"xmp": b"a" * (20 << 20), "lossless": True}),
    "WebP, profile": ("WEBP", {"icc_profile": bytes(4 << 20), "lossless": True}),
    "TIFF, profile": ("TIFF", {"icc_profile": bytes(4 << 20)}),
}


@both
@pytest.mark.parametrize(("kind", "options"), OTHERS.values(), ids=OTHERS)
def test_large_metadata_of_other_formats_changes_no_pixel(read, kind, options):
    plain = {name: value for name, value in options.items() if name == "lossless"}
    expected = np.asarray(Image.open(io.BytesIO(encoded(PHOTO, kind, **plain))))
    if "exif" in options:
        expected = np.rot90(expected, 2)
    assert np.array_equal(read(encoded(PHOTO, kind, **options)), expected)


def frames(kind: str, **options) -> bytes:
    turned = [PHOTO, PHOTO.rotate(180)]
    return encoded(turned[0], kind, save_all=True, append_images=turned[1:], **options)


ODD = {
    "APNG": lambda: frames("PNG"),
    "APNG with a still": lambda: frames("PNG", default_image=True),
    "animated WebP": lambda: frames("WEBP", lossless=True),
    "two pictures of a phone": lambda: frames("MPO"),
    "gray and alpha": lambda: encoded(PHOTO.convert("LA")),
    "palette and alpha": lambda: encoded(PHOTO.convert("P"), transparency=bytes(range(256))),
    "progressive": lambda: encoded(PHOTO, "JPEG", progressive=True),
    "CMYK": lambda: encoded(PHOTO.convert("CMYK"), "JPEG"),
}


@both
@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_odd_files_are_read_as_image_open_reads_their_first_frame(read, make):
    data = make()
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(module._to_rgb(opened))
    assert np.array_equal(read(data), expected)


def test_pictures_of_phones_are_below_the_limit_and_warn_nobody(monkeypatch):
    assert 16_320 * 12_240 < module.LARGEST < 2**31
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # of 54, so Image.open refuses it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("PNG", "JPEG", "BMP"):
            assert decode(encoded(IMAGE, kind)).shape == PIXELS.shape
        data = encoded(photo(64, 64), "JPEG", exif=exif_of(9))
        assert np.array_equal(decode_fast(data), decode(data))
        out = {
            name: np.empty(shape, dtype)
            for name, (shape, dtype) in ExactCrops(SMALL).fields.items()
        }
        ExactCrops(SMALL).write(data, np.random.default_rng(0), out)


@both
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_more_pixels_than_the_limit_are_refused_with_the_numbers(monkeypatch, read, kind):
    data = encoded(IMAGE, kind)
    monkeypatch.setattr(module, "LARGEST", 53)
    with pytest.raises(
        UnreadableImage, match="^9 x 6 pixels exceed the limit .*; make the image smal"
    ):
        read(data)


def test_only_the_formats_asked_for_are_read():
    assert open_image(encoded(IMAGE), ("PNG",)).mode == "RGB"
    with pytest.raises(UnreadableImage, match="^JPEG: not PNG$"):
        open_image(encoded(IMAGE, "JPEG"), ("PNG",))


def test_importing_and_decoding_change_nothing_of_other_packages():
    constants = (Image, PngImagePlugin)
    before = [dict(vars(each)) for each in constants], list(warnings.filters)
    spec = importlib.util.spec_from_file_location("another_decode", module.__file__)
    another = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(another)
    assert np.array_equal(another.decode(png(*METADATA["iCCP"])), PIXELS)
    assert ([dict(vars(each)) for each in constants], list(warnings.filters)) == before
    assert "another_decode" not in sys.modules


def test_the_header_alone_tells_the_orientation_of_any_file_that_is_read():
    for data in (
        encoded(IMAGE, "JPEG", exif=exif_of(9)),
        encoded(IMAGE, "WEBP", exif=exif_of(9)),
        png(*METADATA["iCCP"], exif=exif_of(9)),
    ):
        assert open_image(data, pixels=False).getexif()[module.ORIENTATION] == 3
