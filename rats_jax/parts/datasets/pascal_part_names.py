"""The parts of PASCAL-Part: their ids, which are the same in every image.

Numbered parts (wheel_1, wheel_2) are one part, and so are left and right ones, as is usual for
this data set: a picture hardly shows which of two alike parts it is.
"""

import re

_ANIMAL = "head eye ear torso neck tail"
_PAWS = f"{_ANIMAL} nose fleg fpa bleg bpa"
_HOOVES = f"{_ANIMAL} muzzle fuleg flleg buleg blleg"
_ROAD = "frontside side backside roofside mirror fliplate bliplate door wheel headlight window"

#: Class -> the names of its parts, without "l", "r", "left", "right" and numbers.
_PARTS = {
    "aeroplane": "body stern wing tail engine wheel",
    "bicycle": "fwheel bwheel saddle handlebar chainwheel headlight",
    "bird": "head eye beak torso neck wing leg foot tail",
    "boat": "",
    "bottle": "cap body",
    "bus": _ROAD,
    "car": _ROAD,
    "cat": _PAWS,
    "chair": "",
    "cow": f"{_HOOVES} horn",
    "table": "",
    "dog": f"{_PAWS} muzzle",
    "horse": f"{_HOOVES} fho bho",
    "motorbike": "fwheel bwheel handlebar saddle headlight",
    "person": "head eye ear ebrow nose mouth hair torso neck larm uarm hand lleg uleg foot",
    "pottedplant": "pot plant",
    "sheep": f"{_HOOVES} horn",
    "sofa": "",
    "train": "head hfrontside hside hbackside hroofside headlight coach cfrontside cside cbackside "
    "croofside",
    "tvmonitor": "screen frame",
}
_SIDED = (
    "wing eye leg foot ear fleg fpa bleg bpa fuleg flleg buleg blleg horn fho bho ebrow larm uarm "
    "hand lleg uleg"
)
#: A name with a side -> the name without: "leye" -> "eye". Names such as "rear" (right ear) and
#: "lleg" (lower leg of a person, left leg of a bird) depend on the class, see `part_id`.
_WITHOUT_SIDE = {side + name: name for name in _SIDED.split() for side in "lr"} | {
    f"{unit}{side}{end}": f"{unit}{end}"
    for unit in ("", "h", "c")
    for side in ("left", "right")
    for end in ("side", "mirror")
}
#: "CLASS" and "CLASS PART" -> id, from 1; 0 is the background.
IDS = {
    name: i
    for i, name in enumerate(
        (
            f"{category} {part}".strip()
            for category, parts in _PARTS.items()
            for part in ("", *parts.split())
        ),
        1,
    )
}
NAMES = {0: "background"} | {id_: name for name, id_ in IDS.items()}


def part_id(name: str) -> int | None:
    """The id of "CLASS" or "CLASS PART", as in a file; None if there is no such part."""
    category, _, part = name.partition(" ")
    category = "table" if category == "diningtable" else category
    part = re.sub(r"_\d+$", "", part)
    for candidate in (_WITHOUT_SIDE.get(part, part), part):
        if (found := IDS.get(f"{category} {candidate}".strip())) is not None:
            return found
    return None
