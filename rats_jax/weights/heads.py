"""Reads what a checkpoint of DINO has beside its backbones: projection heads and the center."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.weights.files import opened
from rats_jax.weights.names import HEAD, from_torch
from rats_jax.weights.sets import WRAPPERS, choose, grouped

#: First part of the names of a head, beside the backbone of its set: DINO v1, DINOv2 and v3.
HEADS = ("head", "dino_head")
CENTER = re.compile(r"(.*\.)?dino_loss\.center")
#: PyTorch's newer names for the parts of a weight-normalised layer.
NEWER = {
    "last_layer.parametrizations.weight.original0": "last_layer.weight_g",
    "last_layer.parametrizations.weight.original1": "last_layer.weight_v",
}


class Beside(NamedTuple):
    """heads: by the name of a set, the tree of its head, always with gains; or a text that says
    why it is none of ours; or None if there is no head. center: float32, as in the
    file, or None. keys: the tensors of these in the file. not_chosen: the other sets of weights.
    prefix: of the first set."""

    heads: dict[str, dict | str | None]
    center: np.ndarray | None
    keys: set[str]
    not_chosen: list[str]
    prefix: str


def has_student_and_teacher(path: Path) -> bool:
    """Whether a file has the weights of a student and of its teacher."""
    with opened(path) as (file, stored):
        try:
            for name in ("teacher", "student"):
                choose(stored.names, name, source=str(file))
        except UserError:
            return False
    return True


def read_beside(path: Path, sets: Sequence[str]) -> Beside:
    """The heads of the sets of weights that `sets` names (see `sets.choose`), and the center.
    Raises UserError for a head that is damaged."""
    with opened(path) as (file, stored):
        chosen = {name: choose(stored.names, name, source=str(file)) for name in sets}
        names = {
            name: _head_names(stored.names, found.prefix, str(file))
            for name, found in chosen.items()
        }
        centers = [key for key in stored.names if CENTER.fullmatch(key)]
        keys = {key for found in names.values() for key in found.values()} | {*centers}
        arrays = stored.read(keys)
    heads = {
        name: _head({ours: arrays[key] for ours, key in found.items()}, source=str(file))
        for name, found in names.items()
    }
    used = {key for name in sets if heads[name] is not None for key in names[name].values()}
    center = arrays[centers[0]] if len(centers) == 1 else None
    titles = {found.name for found in chosen.values()}
    first = chosen[sets[0]]
    return Beside(
        heads,
        center,
        used | ({*centers} if center is not None else set()),
        [title for title in first.not_chosen if title not in titles],
        first.prefix,
    )


def not_taken(left_out: Sequence[str], beside: Beside, keys: Collection[str]) -> list[str]:
    """For messages: the tensors in `left_out` that are not in `keys`, see `sets.grouped`."""
    return grouped([key for key in left_out if key not in keys], beside.prefix)


def _head_names(keys: Collection[str], prefix: str, source: str) -> dict[str, str]:
    """The names in the file of the head beside the backbone at `prefix`, by PyTorch's names."""
    root = [part for part in prefix.split(".") if part]
    while root and root[-1] in WRAPPERS:
        root.pop()
    if root and root.pop() != "backbone":
        return {}
    found: dict[str, str] = {}
    for key in keys:
        parts = key.split(".")
        if parts[: len(root)] != root:
            continue
        first, *name = [part for part in parts[len(root) :] if part not in WRAPPERS] or [""]
        if first in HEADS and name:
            plain = ".".join(name)
            plain = NEWER.get(plain, plain)
            if plain in found:
                raise UserError(f"{source} has one tensor twice, as {found[plain]} and as {key}")
            found[plain] = key
    return found


def _head(arrays: Mapping[str, np.ndarray], *, source: str) -> dict | str | None:
    """The tree of a head from its tensors by PyTorch's names; or why it is none of ours; or None
    if there are no such tensors, or those of something else, such as a classifier."""
    known = {row.name for row in HEAD}
    if not known & set(arrays):
        return None
    gain = "last_layer.weight_g"
    if wrong := sorted(set(arrays) ^ known - {gain} if gain not in arrays else set(arrays) ^ known):
        is_there = "has" if wrong[0] in arrays else "has no"
        return f"it is built in another way: it {is_there} {wrong[0]}"
    prototypes = arrays["last_layer.weight_v"].shape[0]
    filled = {gain: np.ones((prototypes, 1), np.float32)} | dict(arrays)
    like: dict = {}
    for row in HEAD:
        module, name = row.path.split("/")
        shape = filled[row.name].shape
        shape = shape[::-1] if name in ("kernel", "direction") else shape[:1]
        like.setdefault(module, {})[name] = np.broadcast_to(np.float32(0), shape)
    return from_torch(filled, like, source=f"{source}, its head")
