"""Detects a file's type from its first bytes, for messages about files with a wrong name."""

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
ZIP = b"PK\3\4"

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull gets the file)",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"8BPS": "a Photoshop file",
    b"%PDF": "a PDF file",
    ZIP: "a zip archive",
    **dict.fromkeys(COMPRESSED, "compressed data"),
}
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIC"),
}


def what_is(data: bytes) -> str | None:
    """The type, such as "HEIC" or "a PDF file"; None if it is not known."""
    if not data:
        return "an empty file"
    if data.count(0) == len(data):
        return "a file of zeros"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video")
    text = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith((b"<?xml", b"<svg")):
        return "SVG or XML"
    return next((what for start, what in _STARTS.items() if data.startswith(start)), None)
