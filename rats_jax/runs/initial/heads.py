"""Whether the heads and the center of given weights fit those of a run."""

from collections.abc import Mapping

import numpy as np

from rats_jax.models.options import Options
from rats_jax.runs.initial.reading import Arrays, Given, Side

GAIN = "last_layer/gain"
Shapes = Mapping[str, tuple[int, ...]]


def fitting_heads(given: Given, wanted: Options, shapes: Shapes) -> dict[str, Arrays] | str:
    """The heads of "student" and "teacher" in these shapes; or why there are none, in words."""
    if given.options.has_cls != wanted.has_cls:
        return "head: it reads [CLS], not registers"
    heads = {}
    for name, side in (("student", given.student), ("teacher", given.teacher)):
        head = _fitting(side, shapes)
        if isinstance(head, str):
            return f"head: {head}"
        heads[name] = head
    return heads


def _fitting(side: Side, shapes: Shapes) -> Arrays | str:
    head = side.head
    if isinstance(head, str):
        return head
    if GAIN not in shapes:
        if not (head[GAIN] == 1).all():
            return "its prototypes have trained gains (config.head.norm_last_layer=false takes it)"
        head = {name: array for name, array in head.items() if name != GAIN}
    there = {name: array.shape for name, array in head.items()}
    if there != dict(shapes):
        return f"{_size(there)} there; {_size(shapes)} here"
    return head


def _size(shapes: Shapes) -> str:
    bottleneck, prototypes = shapes["last_layer/direction"]
    hidden = shapes["fc1/kernel"][1]
    return f"hidden {hidden:,}, bottleneck {bottleneck:,}, prototypes {prototypes:,}"


def fitting_center(given: Given, shape: tuple[int, ...]) -> np.ndarray | str:
    """The center in this shape; or why there is none, in words."""
    if given.center is None:
        return "center: there is none"
    if given.center.shape != shape:
        return f"center: {list(given.center.shape)} there, {list(shape)} here"
    return np.asarray(given.center, np.float32)
