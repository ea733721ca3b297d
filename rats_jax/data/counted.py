"""Counts for messages."""


def images_used(count: int, whole: int) -> str:
    """Text for the number of images that are used, of all."""
    if count == whole:
        return counted(count, "image")
    return f"{count:,} of {whole:,} images, evenly spaced (--limit)"


def counted(count: int, thing: str) -> str:
    """Returns text such as "1 image", "1,200 images" or "2 batches"."""
    ending = "es" if thing.endswith(("ch", "ss")) else "s"
    return f"{count:,} {thing}{'' if count == 1 else ending}"
