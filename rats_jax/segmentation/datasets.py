"""Opens data sets of segmentation: `open_segmentation("KIND:PATH", task="semantic")`."""

from collections.abc import Sequence
from dataclasses import replace

from rats_jax.data.kinds import kind_and_place
from rats_jax.errors import UserError
from rats_jax.parts.datasets import POINTS, SAME_IDS, PartDataset, open_dataset
from rats_jax.segmentation.class_choice import Classes, chosen_classes, listed_ids, own_classes
from rats_jax.segmentation.class_scan import ids_of_masks
from rats_jax.segmentation.label_maps import open_label_maps
from rats_jax.segmentation.segmentation_set import (
    SegmentationSet,
    SegmentationSource,
    Task,
)

__all__ = [
    "SEMANTIC",
    "SegmentationSet",
    "SegmentationSource",
    "Task",
    "check_same_classes",
    "open_both",
    "open_segmentation",
]

#: Kinds whose ids are classes.
SEMANTIC = tuple(kind for kind in SAME_IDS if kind not in POINTS)
_COMMON_VOID = 255  # in many tools


def open_segmentation(
    spec: str, *, task: Task, classes: Sequence[str | int] = (), void: int | None = None
) -> SegmentationSet:
    """Opens KIND:PATH, or COUNT@SEED for drawings.

    Lists the files. If neither the kind nor `classes` determines the classes, the masks are read
    once to find their ids.

    Args:
      spec: KIND is one of `SEMANTIC`.
      classes: names or ids of the classes; () for all.
      void: the id of pixels that are ignored, in addition to those that the kind ignores; None or
        -1 for no such id.

    Raises:
      UserError: the kind is unknown or not one of the task; the files do not have its layout; or
        `classes` has one that the data set does not have.
    """
    void = None if void is None or void < 0 else void
    kind, _ = kind_and_place(spec, wanted="part masks")
    if task != "semantic" or kind not in SEMANTIC:
        raise UserError(
            f"{spec}: --task={task} does not accept {kind}; it accepts {', '.join(SEMANTIC)}"
        )
    parts = open_dataset(spec)
    chosen = _classes(parts, classes, void)
    truths = open_label_maps(
        parts, chosen, void=void, others_void=bool(classes) and parts.classes is not None
    )
    rule = f"{parts.flattening}; a class is an id"
    if void is not None:
        rule += f"; id {void} is void"
    if truths.others_void:
        rule += "; classes that config.data.classes does not list are void"
    return SegmentationSet(
        parts.name,
        task,
        *chosen,
        rule=rule,
        notes=(*parts.notes, *_odd_classes(parts, chosen, classes)),
        truths=truths,
    )


def open_both(
    train: str,
    test: str,
    *,
    task: Task,
    classes: Sequence[str | int] = (),
    void: int | None = None,
) -> tuple[SegmentationSet, SegmentationSet]:
    """The training and the test set, with the same classes.

    Raises:
      UserError: one of them cannot be opened, or the test set has other classes.
    """
    training = open_segmentation(train, task=task, classes=classes, void=void)
    testing = open_segmentation(test, task=task, classes=classes, void=void)
    if isinstance(training.truths, type(testing.truths)) and set(testing.ids) < set(training.ids):
        # Files without a list of classes: some do not occur in the smaller set.
        testing = open_segmentation(test, task=task, classes=training.ids, void=void)
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


def _described(item: tuple[int, str]) -> str:
    id, name = item
    return f"class {id}" + ("" if name == str(id) else f" ({name})")


def _classes(parts: PartDataset, given: Sequence[str | int], void: int | None) -> Classes:
    if parts.classes is None:
        if given:
            return listed_ids(given, parts.name)
        found = [id for id in ids_of_masks(parts) if id != void]
        return own_classes({id: str(id) for id in found})
    if given:
        return chosen_classes(given, parts.classes, parts.name)
    return own_classes({id: name for id, name in parts.classes.items() if id != void})


def _odd_classes(parts: PartDataset, chosen: Classes, given: Sequence[str | int]) -> list[str]:
    """Notes on classes that are probably not meant."""
    notes = []
    if not given and parts.classes is None and _COMMON_VOID in chosen.ids:
        notes.append(
            f"warning: id {_COMMON_VOID} of {parts.name} counts as a class; if it marks pixels to "
            f"ignore, set config.data.void={_COMMON_VOID}"
        )
    if len(chosen.ids) == 1:
        notes.append(f"warning: {parts.name} has only one class, {chosen.names[0]}")
    return notes
