"""What data sets consist of, as their makers write it."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 9, 11
SIZE = (HEIGHT, WIDTH)


def write_image(path: Path, size=SIZE, **options) -> np.ndarray:
    """A JPEG or PNG of noise; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return np.asarray(Image.open(path).convert("RGB"))


def write_ids(path: Path, ids: np.ndarray) -> None:
    """A PNG of one channel, of 8 or 16 bits by the array's dtype."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


def write_rgb_ids(path: Path, ids: np.ndarray) -> None:
    """A PNG of R + 256 G + 65536 B."""
    ids = ids.astype(int)
    channels = [ids % 256, ids // 256 % 256, ids // 65536]
    write_ids(path, np.stack(channels, -1).astype(np.uint8))


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def box(top: int, left: int, bottom: int, right: int, size=SIZE) -> np.ndarray:
    """A bool mask."""
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def runs(mask: np.ndarray) -> list[int]:
    """The counts of an uncompressed RLE, found pixel by pixel."""
    counts, last = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != last:
            counts.append(0)
            last = pixel
        counts[-1] += 1
    return counts


def rle(mask: np.ndarray) -> dict:
    return {"size": list(mask.shape), "counts": runs(mask)}


def compressed_rle(mask: np.ndarray) -> dict:
    text, counts = "", runs(mask)
    for i, count in enumerate(counts):
        number = count - counts[i - 2] if i > 2 else count
        while True:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * more)
            if not more:
                break
    return {"size": list(mask.shape), "counts": text}


def huge_npy() -> bytes:
    """A header that declares a terapixel, and ten bytes of it."""
    file = io.BytesIO()
    header = {"descr": "|b1", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(10)
