"""Why a command line with --config could not be parsed: which field, and what it accepts.

ml_collections loads the recipe and sets the fields while absl parses the command line. Its errors
name neither.
"""

import ast
import difflib
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict

from rats_jax.config_arguments import AUTO_TEXT, NAME, given_fields, given_recipe
from rats_jax.config_kinds import TRAIN, ask
from rats_jax.config_text import EXPECTED, field_names, sections, written
from rats_jax.nearest_fields import nearest_fields, same_field
from rats_jax.recipes import load


def explain(arguments: Sequence[str], command: str = TRAIN) -> str | None:
    """Why a command line with --config could not be parsed, in one line; None if its config is not
    the reason. command: that takes the config, TRAIN or FINETUNE."""
    given = list(given_fields(arguments))
    file = given_recipe(arguments)
    if file is None:
        if not given:
            return None
        if given[0][0] == NAME:
            return f"no --config: {ask(command)}"
        return f"--{given[0][0]} is a field of a recipe, and there is no --config: {ask(command)}"
    config, problem = load(file, command)
    if config is None:
        return problem
    if given[0][0] != NAME:
        return f"--{given[0][0]} comes before --{NAME}: give --{NAME} first"
    problems = (
        _problem_of_field(config, name.removeprefix(f"{NAME}."), value)
        for name, value in given
        if name != NAME
    )
    return next(filter(None, problems), None)


def explain_flag(flag: str, command: str = TRAIN) -> str:
    """That a flag does not exist, in one line, with the flag or the fields that it may mean.
    command: as for `explain`."""
    close = difflib.get_close_matches(flag, flags.FLAGS, n=1)
    names: list[str] = []
    if NAME in flags.FLAGS:
        from rats_jax.config import fields_of  # loads JAX

        names = [field.name for field in fields_of(command)]
    section, _, rest = flag.partition(".")
    name = rest if rest and difflib.get_close_matches(section, [NAME]) else flag
    if close and not same_field(name, names):
        meant = f"did you mean --{close[0]}?"
    elif near := nearest_fields(name, names):
        meant = f"did you mean {_choice(near)}?"
    else:
        meant = "--help lists the flags"
    return f"unknown flag --{flag}: {meant}"


def _problem_of_field(config: ConfigDict, name: str, value: str | None) -> str | None:
    """name: SECTION.FIELD, perhaps followed by [INDEX]."""
    here, path = config, NAME
    for part in name.split("."):
        part, index, _ = part.partition("[")
        if not isinstance(here, ConfigDict):
            return f"--{NAME}.{name}: {path} is a field, not a section: write --{path}=VALUE"
        if part not in here:
            missing = part or "''"
            return f"{path} has no field {missing}{_meant(config, path, name)}"
        here, path = here[part], f"{path}.{part}"
    if isinstance(here, ConfigDict):
        return f"--{path} is a section: set a field, --{path}.FIELD=VALUE, of {', '.join(here)}"
    if index and isinstance(here, tuple):
        return f"--{NAME}.{name}: give all values at once, such as --{path}={written(here)}"
    recipes = AUTO_TEXT if _is_auto(config, name, here) else written(here)
    if value is None:
        if isinstance(here, bool):  # --config.SECTION.FIELD alone is true
            return None
        return f"--{path} needs a value: --{path}={recipes} is the recipe's"
    if not index and not _takes(type(here), value):
        expected = EXPECTED.get(type(here), type(here).__name__)
        return f"--{path}={value}: give {expected}, such as {recipes}"
    return None


def _is_auto(config: ConfigDict, name: str, value: object) -> bool:
    """Whether the value of this field stands for one that is chosen at the start of a run."""
    from rats_jax.config import fields

    return any(field.is_auto(value) for field in fields(config) if field.name == name)


def _meant(config: ConfigDict, section: str, name: str) -> str:
    """Text for a name that is not a field: the nearest fields, and what the section has."""
    near = nearest_fields(name, field_names(config))
    of = dict(sections(config))
    if not near and section == NAME:  # no field is near, but perhaps a section: --config.modl
        near = difflib.get_close_matches(name.partition(".")[0], config, n=1)
    meant = f"did you mean {_choice(near)}? " if near else ""
    return f": {meant}{section} has {', '.join(of[section])}"


def _choice(fields: Sequence[str]) -> str:
    *others, last = [f"--{NAME}.{field}" for field in fields]
    return f"{', '.join(others)} or {last}" if others else last


def _takes(kind: type, value: str) -> bool:
    try:
        if kind is bool:
            return value.lower() in ("true", "false", "t", "f", "1", "0")
        if kind in (int, float):
            kind(value)
        if kind is tuple:
            ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return False
    return True
