"""The size of an image from the head of its file."""

from rats_jax.data.decode import ORIENTATION, open_image
from rats_jax.parts.datasets import exif
from rats_jax.parts.datasets.part_dataset import Entry

Size = tuple[int, int]

HEAD = 2**18  # bytes; metadata before the size are rarely longer


def size_of(entry: Entry) -> Size | None:
    """(height, width) of an entry's image, upright; None if the head of its file does not say."""
    if entry.image is None:
        return None
    try:
        with open(entry.image, "rb") as file:
            image = open_image(file.read(HEAD), pixels=False)
        width, height = image.size
        # Pillow decodes a PNG file to look for EXIF data at its end.
        has_exif = image.format != "PNG" or "exif" in image.info
        turned = has_exif and image.getexif().get(ORIENTATION) in exif.QUARTERS
    except Exception:  # a broken file, of many kinds: it is reported when its pixels are read
        return None
    return (width, height) if turned else (height, width)
