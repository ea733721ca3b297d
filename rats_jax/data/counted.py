"""A count and the name of what is counted, for messages."""


def counted(count: int, thing: str) -> str:
    """Returns text such as "1 image" or "1,200 images"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
