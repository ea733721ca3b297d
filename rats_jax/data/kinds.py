"""The kinds of data sets, KIND:PATH, and which task accepts which kinds."""

import difflib
from collections.abc import Iterable

from rats_jax.data.source_kinds import SOURCES
from rats_jax.errors import UserError
from rats_jax.paths import local_path
from rats_jax.procedural_parts.place import PATTERN, PATTERN_OF_COMPOSITES

#: Kinds of images with part masks, and how each is written.
PART_MASKS = {
    "folder": "folder:PATH, a folder with images/ and masks/",
    "ade20k": "ade20k:PATH, a folder with images/ and annotations/",
    "coco-panoptic": "coco-panoptic:PATH, a JSON file or the folder that contains annotations/",
    "coco-instances": "coco-instances:PATH, a JSON file or the folder that contains annotations/",
    "imagenet-s": "imagenet-s:PATH, a folder with validation/ and validation-segmentation/",
    "partimagenet": "partimagenet:PATH, a folder with images/ and annotations/",
    "sam": "sam:PATH, a folder with images and the output of SAM for each of them",
    "pascal-part": "pascal-part:PATH, a folder with Annotations_Part/ and JPEGImages/, or "
    "PATH/train, PATH/val or PATH/trainval by the lists of VOC in ImageSets/Main/",
    "cub": "cub:PATH, the folder CUB_200_2011, or PATH/train or PATH/test (keypoints)",
    "nabirds": "nabirds:PATH, the folder nabirds, or PATH/train or PATH/test (keypoints)",
    "procedural_parts": PATTERN,
    "composites": PATTERN_OF_COMPOSITES,
}
#: Kinds of images with one class each.
LABELLED = {kind: source.written for kind, source in SOURCES.items()}
_WHAT = {
    "part masks": (PART_MASKS, "--task=parts uses"),
    "labelled images": (LABELLED, "--task=knn, linear and norms use"),
}


def pattern(kind: str) -> str:
    """How a kind of labelled images is written, without the explanation, such as
    tfds:NAME/SPLIT@DATA_DIR."""
    return LABELLED[kind].partition(",")[0]


def kind_and_place(spec: str, *, wanted: str) -> tuple[str, str]:
    """Splits KIND:PLACE.

    wanted: "part masks" or "labelled images".

    Raises:
      UserError: the kind is unknown, or belongs to the other task; or the place is missing.
    """
    kinds, _ = _WHAT[wanted]
    kind, _, place = spec.partition(":")
    if kind in kinds and place:
        return kind, place
    if kind in kinds:
        raise UserError(f"{wanted} {spec!r}: write {kinds[kind]}")
    one_of = f"KIND is one of {', '.join(kinds)}"
    for other, (theirs, task) in _WHAT.items():
        if kind in theirs:
            raise UserError(
                f"{spec!r} has {other}, which {task}; {wanted} are needed here: {one_of}"
            )
    raise UserError(f"{wanted} {spec!r} are not KIND:PATH{hint(spec, kinds)}; {one_of}")


def hint(spec: str, kinds: Iterable[str]) -> str:
    """What a text that is not KIND:PLACE with one of these kinds could mean, in parentheses; or
    ""."""
    kind, colon, place = spec.partition(":")
    near = difflib.get_close_matches(kind.lower(), kinds, n=1)
    near = near or [full for full in kinds if kind and full.startswith(kind.lower())]
    if colon and near:
        return f" (did you mean {' or '.join(f'{full}:{place}' for full in near)}?)"
    if local_path(spec).is_dir():
        return f" (this folder could be {next(iter(kinds))}:{spec})"
    return ""
