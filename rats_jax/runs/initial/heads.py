"""Whether the heads and the center of given weights fit those of a run."""

from collections.abc import Mapping

import numpy as np

from rats_jax.models.options import Options
from rats_jax.runs.initial.conversion import Arrays
from rats_jax.runs.initial.reading import Given, Side

GAIN = "last_layer/gain"
Shapes = Mapping[str, tuple[int, ...]]


def fitting_heads(given: Given, wanted: Options, shapes: Shapes) -> dict[str, Arrays] | str | None:
    """The heads of "student" and "teacher" in these shapes; or why they do not fit, in words; or
    None if there is none."""
    sides = {"student": given.student, "teacher": given.teacher}
    if all(side.head is None for side in sides.values()):
        return None
    if given.options.has_cls != wanted.has_cls:
        return "head: it reads [CLS], not registers"
    heads = {}
    for name, side in sides.items():
        head = _fitting(side, shapes)
        if isinstance(head, str):
            return f"head: {head}"
        heads[name] = head
    return heads


def _fitting(side: Side, shapes: Shapes) -> Arrays | str:
    head = side.head
    if head is None:
        return "student and teacher do not both have one"
    if isinstance(head, str):
        return head
    if GAIN not in shapes:
        if not (head[GAIN] == 1).all():
            return "its prototypes have trained gains (config.head.norm_last_layer=false takes it)"
        head = {name: array for name, array in head.items() if name != GAIN}
    there = {name: array.shape for name, array in head.items()}
    if there != dict(shapes):
        return _difference(_sizes(there), _sizes(shapes))
    return head


def _difference(there: list[str], here: list[str]) -> str:
    """The sizes that differ, such as "1,024 prototypes there, 512 prototypes here"."""
    pairs = [pair for pair in zip(there, here, strict=True) if pair[0] != pair[1]]
    if not pairs:
        return "its layers have other shapes"
    was, now = (" and ".join(sizes) for sizes in zip(*pairs, strict=True))
    return f"{was} there, {now} here"


def _sizes(shapes: Shapes) -> list[str]:
    bottleneck, prototypes = shapes["last_layer/direction"]
    hidden = shapes["fc1/kernel"][1]
    return [f"hidden {hidden:,}", f"bottleneck {bottleneck:,}", f"{prototypes:,} prototypes"]


def fitting_center(given: Given, shape: tuple[int, ...]) -> np.ndarray | str:
    """The center in this shape; or why there is none, in words."""
    if given.center is None:
        return "center: there is none"
    if given.center.shape != shape:
        return f"center: {list(given.center.shape)} there, {list(shape)} here"
    return np.asarray(given.center, np.float32)
