"""So many of a thing, in words."""


def counted(count: int, thing: str) -> str:
    """Such as "1 image" and "1,200 images"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
