"""The 11 super-categories and 40 parts of PartImageNet (He et al. 2022, arXiv 2112.00933)."""

PARTS_OF: dict[str, tuple[str, ...]] = {
    "quadruped": ("head", "body", "foot", "tail"),
    "biped": ("head", "body", "hand", "foot", "tail"),
    "fish": ("head", "body", "fin", "tail"),
    "bird": ("head", "body", "wing", "foot", "tail"),
    "snake": ("head", "body"),
    "reptile": ("head", "body", "foot", "tail"),
    "car": ("body", "tire", "side mirror"),
    "bicycle": ("head", "body", "seat", "tire"),
    "boat": ("body", "sail"),
    "aeroplane": ("head", "body", "wing", "engine", "tail"),
    "bottle": ("body", "mouth"),
}

SUPER_CATEGORIES: tuple[str, ...] = tuple(PARTS_OF)
"""Names of the 11 super-categories; an image's label is an index into it."""

PARTS: tuple[str, ...] = tuple(
    f"{category} {part}" for category, parts in PARTS_OF.items() for part in parts
)
"""Names of the 40 parts; a mask's value is an index into it, or BACKGROUND."""

BACKGROUND = len(PARTS)
"""Mask value of everything that is not a part (40, as in PartImageNet)."""

PART_IDS: dict[str, int] = {name: i for i, name in enumerate(PARTS)}


def part_ids(label: int) -> tuple[int, ...]:
    """The mask values that an image with this label may have, except BACKGROUND."""
    category = SUPER_CATEGORIES[label]
    return tuple(PART_IDS[f"{category} {part}"] for part in PARTS_OF[category])
