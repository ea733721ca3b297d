"""How config fields are written: their names, their values on a command line, and the accepted
values in words.

Outside `rats_jax/config`, since importing that loads JAX.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

if TYPE_CHECKING:
    from rats_jax.config.field import Field

#: What a field accepts, by the type of its default.
EXPECTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "values in brackets",
    str: "text",
}


def written(value: object) -> str:
    """A value as it is written on a command line, before any quoting for a shell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(value).replace(" ", "").replace("'", '"')
    return str(value)


def shown(field: Field, value: object) -> str:
    """A value of this field, as help and documentation show it."""
    is_auto = getattr(field, "is_auto", None)
    return "auto" if is_auto and is_auto(value) else written(value)


def accepted(field: Field) -> str:
    """The accepted values in words, with the type where the words do not imply it."""
    if field.type in (int, float) and field.values:
        return f"{EXPECTED[field.type]}, {field.values}"
    return field.values or EXPECTED[field.type]


def sections(config: ConfigDict, path: str = "config") -> Iterator[tuple[str, ConfigDict]]:
    """The config and its sections, with their paths, such as config.model."""
    yield path, config
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from sections(value, f"{path}.{name}")


def field_names(config: ConfigDict) -> Iterator[str]:
    """SECTION.FIELD of all fields."""
    for path, section in sections(config):
        prefix = f"{path}.".removeprefix("config.")
        for name, value in section.items():
            if not isinstance(value, ConfigDict):
                yield prefix + name
