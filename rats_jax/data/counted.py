"""A count and the name of what is counted, for messages."""


def counted(count: int, thing: str) -> str:
    """Returns text such as "1 image", "1,200 images" or "2 batches"."""
    ending = "es" if thing.endswith("ch") else "s"
    return f"{count:,} {thing}{'' if count == 1 else ending}"
