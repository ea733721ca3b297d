"""Which config fields a wrong name may mean."""

import difflib
from collections.abc import Iterable

MOST = 3  # names
CLOSE = 0.7  # the least similarity of two names, as difflib measures it


def nearest_fields(name: str, fields: Iterable[str]) -> list[str]:
    """The fields that `name` may mean, the nearest first; at most `MOST`.

    name, fields: SECTION.FIELD, or FIELD alone. The section of a name may be missing or wrong.
    """
    section, field = _parts(name)
    if not field:
        return []
    names = sorted(fields, key=lambda other: -_similarity(section, _parts(other)[0]))
    if same := same_field(name, names):
        return [other for other in same if _parts(other)[0] == section] or same[:MOST]
    ranks = {other: _rank(section, field, other) for other in names}
    close = [other for other in names if ranks[other] >= CLOSE]
    return sorted(close, key=lambda other: -ranks[other])[:MOST]


def same_field(name: str, fields: Iterable[str]) -> list[str]:
    """The fields of this name in any section, whatever its hyphens and capitals, or else those with
    these initials, such as lr for learning_rate."""
    _, field = _parts(name)
    last = {other: _parts(other)[1] for other in fields}
    same = [other for other in last if last[other].replace("_", "") == field.replace("_", "")]
    return same or [other for other in last if field == _initials(last[other])]


def _rank(section: str, field: str, other: str) -> float:
    """How near another field is: by the names without sections, or by the words that they share.
    Fields of the same section are nearer."""
    other_section, other_field = _parts(other)
    rank = _similarity(field, other_field)
    if set(field.split("_")) <= set(other_field.split("_")):
        rank = 0.9 + rank / 10
    return rank + 0.1 if rank >= CLOSE and section == other_section else rank


def _initials(field: str) -> str:
    """The initials of a field of several words; "" for one word."""
    words = field.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def _parts(name: str) -> tuple[str, str]:
    """Section and field."""
    section, _, field = name.lower().replace("-", "_").rpartition(".")
    return section, field


def _similarity(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
