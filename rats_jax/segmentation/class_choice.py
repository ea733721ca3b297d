"""Which classes a data set has: those of its files, or those that a config lists by name or id."""

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rats_jax.errors import UserError

LARGEST_ID = 2**16 - 1  # ids of files with 16 bits; a table of all ids is kept
_SHOWN = 8


class Classes(NamedTuple):
    """names and ids of the classes, in the order of their places."""

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def without(self, id: int) -> "Classes":
        """The others, if the id is one of the classes."""
        kept = [i for i, of in enumerate(self.ids) if of != id]
        return Classes(tuple(self.names[i] for i in kept), tuple(self.ids[i] for i in kept))


def own_classes(named: Mapping[int, str]) -> Classes:
    """All classes of a data set, in its order."""
    return Classes(tuple(named.values()), tuple(named))


def chosen_classes(given: Sequence[str | int], named: Mapping[int, str], where: str) -> Classes:
    """The classes that a config lists, in its order.

    Args:
      given: names or ids; a text that is a name is taken as the name, even if it is a number.
      named: the names of the data set's ids.
      where: the data set, for messages.

    Raises:
      UserError: one is not a class of the data set, or is listed twice.
    """
    by_name = {name: id for id, name in named.items()}
    ids = [_id_of(str(item), named, by_name, where) for item in given]
    _check_different(ids, given)
    return Classes(tuple(named[id] for id in ids), tuple(ids))


def listed_ids(given: Sequence[str | int], where: str) -> Classes:
    """The classes that a config lists, for files whose ids have no names.

    Raises:
      UserError: one is not an id, or is listed twice.
    """
    for item in given:
        if not str(item).strip().isdecimal() or int(item) > LARGEST_ID:
            raise UserError(
                f"config.data.classes has {item!r}, but the classes of {where} have no names: list "
                f"the ids in its masks, from 0 to {LARGEST_ID:,}"
            )
    ids = [int(item) for item in given]
    _check_different(ids, given)
    return Classes(tuple(map(str, ids)), tuple(ids))


def shown(items: Sequence[object]) -> str:
    """A list for messages, cut after a few."""
    return ", ".join(map(str, items[:_SHOWN])) + (", ..." if len(items) > _SHOWN else "")


def _id_of(item: str, named: Mapping[int, str], by_name: Mapping[str, int], where: str) -> int:
    if item in by_name:
        return by_name[item]
    if item.strip().isdecimal() and int(item) in named:
        return int(item)
    near = difflib.get_close_matches(item, by_name, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise UserError(
        f"config.data.classes has {item!r}, which is no class of {where}{hint}; it has "
        f"{shown([f'{name} ({id})' for id, name in named.items()])}"
    )


def _check_different(ids: Sequence[int], given: Sequence[str | int]) -> None:
    if len(set(ids)) < len(ids):
        twice = next(str(item) for i, item in enumerate(given) if ids[i] in ids[:i])
        raise UserError(f"config.data.classes lists {twice!r} twice; list each class once")
