"""Opens data sets of segmentation: `open_segmentation("KIND:PATH", task="semantic")`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rats_jax.data.kinds import PART_MASKS, hint, kind_and_place
from rats_jax.errors import UserError
from rats_jax.parts.datasets import POINTS, SAME_IDS, PartDataset, open_dataset
from rats_jax.parts.datasets.coco_panoptic import open_coco_panoptic
from rats_jax.paths import local_path, printable
from rats_jax.progress import reports_time
from rats_jax.segmentation import components
from rats_jax.segmentation.class_choice import Classes, chosen_classes, listed_ids, own_classes
from rats_jax.segmentation.class_scan import ids_of_masks
from rats_jax.segmentation.coco_objects import objects_of_classes, open_coco_objects
from rats_jax.segmentation.components import Components
from rats_jax.segmentation.label_maps import LabelMaps, open_label_maps
from rats_jax.segmentation.segmentation_set import SegmentationSet, SegmentationSource, Task

__all__ = [
    "KINDS",
    "SegmentationSet",
    "SegmentationSource",
    "Task",
    "check_same_classes",
    "open_both",
    "open_segmentation",
]

_LABEL_MAPS = tuple(kind for kind in SAME_IDS if kind not in POINTS)
#: Task -> kinds of data sets.
KINDS: dict[Task, tuple[str, ...]] = {
    "semantic": (*_LABEL_MAPS, "coco-panoptic"),
    "instance": ("coco-instances", *_LABEL_MAPS),
}
_BACKGROUND = {"folder": 0, "imagenet-s": 0}  # the id that is no instance, by kind
_COMMON_VOID = 255  # in many tools


def open_segmentation(
    spec: str,
    *,
    task: Task,
    classes: Sequence[str | int] = (),
    void: int | None = None,
    field: str = "",
) -> SegmentationSet:
    """Opens KIND:PATH, or COUNT@SEED for drawings.

    Lists the files. If neither the kind nor `classes` determines the classes, the masks are read
    once to find their ids.

    Args:
      spec: KIND is one of `KINDS[task]`.
      classes: names or ids of the classes; () for all.
      void: the id of pixels of label maps that are ignored, in addition to those that the kind
        ignores; None or -1 for no such id.
      field: the config field that gives `spec`, for messages.

    Raises:
      UserError: the kind is unknown or not one of the task; the files do not have its layout; or
        `classes` has one that the data set does not have.
    """
    void = None if void is None or void < 0 else void
    kind, place = _kind_and_place(spec, task, f"{field}: " if field else "")
    try:
        if kind == "coco-instances":
            return _open_objects(_existing(spec, place), classes)
        if kind == "coco-panoptic":
            parts = open_coco_panoptic(_existing(spec, place), categories=True)
        else:
            parts = open_dataset(spec)
        return _open_label_maps(parts, task, kind, classes, void)
    except UserError as error:
        raise UserError(printable(str(error))) from error  # names may contain line breaks
    except OSError as error:
        raise UserError(printable(f"{spec} cannot be read ({error.strerror})")) from error


def open_both(
    train: str, test: str, *, task: Task, classes: Sequence[str | int] = (), void: int | None = None
) -> tuple[SegmentationSet, SegmentationSet]:
    """The training and the test set, with the same classes.

    The test masks of kinds without a list of classes are read, since a run should not end at its
    first evaluation because of an id that is no class.

    Raises:
      UserError: one of them cannot be opened, or the test set has other classes.
    """
    training, testing = (
        open_segmentation(spec, task=task, classes=classes, void=void, field=f"config.data.{name}")
        for name, spec in (("train", train), ("test", test))
    )
    if not classes and testing.ids_found and set(testing.ids) <= set(training.ids):
        # Some classes need not occur in the test images, and ids that are found have no names.
        if testing.ids != training.ids:
            testing = open_segmentation(test, task=task, classes=training.ids, void=void)
        testing = replace(testing, classes=training.classes)
    if classes:
        _check_ids(testing)
    check_same_classes(training, testing)
    if shared := len(training.truths.identities & testing.truths.identities):
        line = f"warning: {shared:,} of {len(testing):,} test images are also training images"
        testing = replace(testing, notes=(*testing.notes, line))
    return training, testing


def check_same_classes(train: SegmentationSet, test: SegmentationSet) -> None:
    """Raises UserError unless both have the same classes, with the same ids and names, in the same
    order."""
    if (train.ids, train.classes) == (test.ids, test.classes):
        return
    ours, theirs = (list(zip(of.ids, of.classes, strict=True)) for of in (train, test))
    lines = [
        f"{name} has {_described(different[0])}, which the other does not have"
        for name, different in (
            (f"config.data.test ({test.name})", [item for item in theirs if item not in ours]),
            (f"config.data.train ({train.name})", [item for item in ours if item not in theirs]),
        )
        if different
    ]
    raise UserError(
        "the training and the test set have different classes: "
        + ("; ".join(lines) or "their order differs")
        + "; give sets with the same classes, or list the common ones in config.data.classes"
    )


def _check_ids(dataset: SegmentationSet) -> None:
    maps = dataset.truths.maps if isinstance(dataset.truths, Components) else dataset.truths
    if isinstance(maps, LabelMaps) and maps.parts.classes is None:
        maps.check_ids(ids_of_masks(maps.parts))


def _described(item: tuple[int, str]) -> str:
    id, name = item
    return f"class {id}" + ("" if name == str(id) else f" ({name})")


def _kind_and_place(spec: str, task: Task, start: str) -> tuple[str, str]:
    """start: of messages."""
    kinds, kind = KINDS[task], spec.partition(":")[0]
    if kind in kinds:
        return kind_and_place(spec, wanted="part masks")
    listed = ", ".join(kinds)
    if kind in PART_MASKS:
        raise UserError(f"{start}{spec}: --task={task} does not accept {kind}; it accepts {listed}")
    raise UserError(f"{start}{spec!r} is not KIND:PATH{hint(spec, kinds)}; KIND is one of {listed}")


def _existing(spec: str, place: str) -> Path:
    path = local_path(place).absolute()
    if not path.exists():
        raise UserError(f"dataset {spec}: {path} does not exist; give the path to its files")
    return path


def _open_objects(path: Path, given: Sequence[str | int]) -> SegmentationSet:
    with reports_time(f"reading the annotations of {path}"):
        return _objects(path, given)


def _objects(path: Path, given: Sequence[str | int]) -> SegmentationSet:
    files = open_coco_objects(path)
    named = {id: name for id, name in files.categories.items() if isinstance(id, int)}
    chosen = chosen_classes(given, named, str(files.file)) if given else own_classes(named)
    truths, notes = objects_of_classes(files, chosen.ids)
    rule = "each object is an instance, and they may overlap; pixels of crowds are ignored"
    if given:
        rule += "; objects of categories that config.data.classes does not list are left out"
    name = f"coco-instances-{files.split}"
    return SegmentationSet(name, "instance", *chosen, rule, tuple(notes), truths)


def _open_label_maps(
    parts: PartDataset, task: Task, kind: str, given: Sequence[str | int], void: int | None
) -> SegmentationSet:
    ignored = () if void is None else (void,)
    rule = f"{parts.flattening}; a class is an id"
    if void is not None:
        rule += f"; id {void} is void"
    found = ids_of_masks(parts) if parts.classes is None and not given else None
    chosen = _classes(parts, given, ignored, found)
    if void in chosen.ids:
        raise UserError(
            f"config.data.void={void} is also one of config.data.classes; remove it from one"
        )
    if task == "instance":
        background = _BACKGROUND.get(kind, parts.background)
        rule += f"; {components.RULE}"
        if background is not None and not (given and background in chosen.ids):
            chosen = chosen.without(background)
            ignored, rule = (*ignored, background), f"{rule}; id {background} is no instance"
    others_void = bool(given) and parts.classes is not None
    if others_void:
        rule += "; classes that config.data.classes does not list are ignored"
    maps = open_label_maps(
        parts, chosen, ignored=ignored, others_void=others_void, ids_of_masks=found
    )
    truths: LabelMaps | Components = maps if task == "semantic" else Components(maps)
    notes = (*parts.notes, *_odd_classes(parts, chosen, given))
    if task == "semantic" and len(chosen.ids) == 1:
        line = f"warning: {parts.name} has one class alone, {chosen.names[0]}: every prediction is "
        notes = (*notes, f"{line}right; give masks with other classes, or list them")
    is_found = found is not None
    return SegmentationSet(parts.name, task, *chosen, rule, notes, truths, ids_found=is_found)


def _classes(
    parts: PartDataset,
    given: Sequence[str | int],
    ignored: tuple[int, ...],
    found: Sequence[np.ndarray | None] | None,
) -> Classes:
    """found: the ids in each mask, if the classes are all that are found."""
    if parts.classes is not None and given:
        return chosen_classes(given, parts.classes, parts.name)
    if given:
        return listed_ids(given, parts.name)
    named = parts.classes
    if named is None:
        assert found is not None
        ids = sorted({id for of_mask in found if of_mask is not None for id in of_mask.tolist()})
        named = {id: str(id) for id in ids}
    return own_classes({id: name for id, name in named.items() if id not in ignored})


def _odd_classes(parts: PartDataset, chosen: Classes, given: Sequence[str | int]) -> list[str]:
    """Notes on classes that are probably not meant."""
    if not given and parts.classes is None and _COMMON_VOID in chosen.ids:
        return [
            f"warning: id {_COMMON_VOID} of {parts.name} counts as a class; if it marks pixels to "
            f"ignore, set config.data.void={_COMMON_VOID}"
        ]
    return []
