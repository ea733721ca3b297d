"""The config fields of a recipe, which --config=RECIPE --help lists."""

import shlex
from collections.abc import Iterator
from itertools import groupby

from ml_collections import ConfigDict

from rats_jax.config import fields, value
from rats_jax.config.field import Field
from rats_jax.config_text import accepted, shown
from rats_jax.usage import wrapped

_INDENT = 6  # columns


def field_list(config: ConfigDict, recipe: str) -> str:
    """All fields with their values in a config. recipe: how --config names it."""
    lines = wrapped(
        f"Fields of --config={recipe}. * marks a value that differs from the default. In brackets: "
        "the values that a field accepts. A field that is fixed for a run cannot be changed when "
        "the run is resumed."
    )
    for section, members in groupby(fields(config), key=lambda field: field.section):
        lines += ["", *([f"{section}:"] if section else [])]
        for field in members:
            lines += _described(field, value(config, field))
    return "\n".join(lines)


def _described(field: Field, given: object) -> Iterator[str]:
    assignment = f"--config.{field.name}={shlex.quote(shown(field, given))}"
    if given == field.default:
        yield f"  {assignment}"
    else:
        yield f"* {assignment}  (default: {shown(field, field.default) or 'empty'})"
    facts = [] if field.type is str and not field.values else [accepted(field)]
    if not field.may_change_on_resume:
        facts.append("fixed for a run")
    text, brackets = wrapped(field.text, _INDENT), f"[{'; '.join(facts)}]"
    together = wrapped(f"{text[-1].strip()} {brackets}", _INDENT)
    if not facts:
        yield from text
    elif len(together) == 1:
        yield from [*text[:-1], *together]
    else:
        yield from [*text, *wrapped(brackets, _INDENT)]
