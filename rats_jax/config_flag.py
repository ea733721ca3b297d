"""The flag --config, which names a recipe or its path, and --config.SECTION.FIELD=VALUE.

ml_collections loads the file and sets the fields while absl parses the command line. This module
turns the errors there into messages for the user: which file, which field, and what it accepts.
"""

import ast
import difflib
import os
import re
import runpy
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from rats_jax.config_text import EXPECTED, written
from rats_jax.configs import FOLDER, recipe_file, recipe_names
from rats_jax.errors import UserError
from rats_jax.nearest_fields import nearest_fields, same_field

flags.disclaim_key_flags()  # --config is a flag of the entry point that calls define_config

NAME = "config"
ASK = "name a recipe, such as --config=image_folder"
AUTO_TEXT = "auto"  # as in rats_jax.config, which loads JAX
TYPES = {kind.__name__: kind for kind in EXPECTED}
#: The error of ml_collections when a recipe sets a field to a value of another type.
WRONG_TYPE = re.compile(
    r"Could not override field '(?P<field>\w+)' \(.*?\)\. (?P<value>.*) is of original type "
    r"<class '\w+'> and cannot be casted to type <class '(?P<type>\w+)'>"
)


_default: str | None = None  # the recipe of a command line without --config


def define_config(default: str | None = None) -> flags.FlagHolder:
    """The flag --config of an entry point. Its value is a locked ConfigDict, see `read_config`.

    default: the name of a recipe in the package.
    """
    global _default
    _default = default
    return config_flags.DEFINE_config_file(
        NAME,
        None,  # ml_collections would set the fields of a default here, where errors are not caught
        help_string=f"Recipe: one of {', '.join(recipe_names())}, or a Python file with "
        "get_config(). --config.SECTION.FIELD=VALUE sets a field; --config=RECIPE --help lists "
        "all fields." + (f" Default: {default}." if default else ""),
    )


def read_config(flag: flags.FlagHolder | flags.Flag) -> ConfigDict:
    """The config of a `define_config` flag. Raises UserError unless it has every field."""
    config = flag.value
    if config is None:
        raise UserError(f"no --config: {ASK}")
    _check_complete(config)
    from rats_jax.config.sizes import with_size

    return with_size(config, by_hand=config_flags.get_override_values(flags.FLAGS[NAME]))


def _check_complete(config: ConfigDict) -> None:
    from rats_jax.config import default_config  # loads JAX, which data workers do without

    if missing := [name for name in _fields(default_config()) if not _has(config, name)]:
        raise UserError(
            f"the recipe has no config.{missing[0]}: let its get_config() start from "
            "rats_jax.config.default_config()"
        )


def load_recipe(recipe: str) -> ConfigDict:
    """The config of a recipe, found by name or path as --config does. Raises UserError."""
    from rats_jax.config.sizes import with_size

    config, problem = _load(recipe)
    if config is None:
        raise UserError(problem)
    return with_size(config) if "model" in config else config


def is_given(arguments: Sequence[str]) -> bool:
    """Whether the arguments name a recipe or a field."""
    return NAME in flags.FLAGS and any(True for _ in _given(arguments))


def config_of_help(arguments: Sequence[str], *, parsed: bool) -> tuple[ConfigDict, str]:
    """The config that help lists, and the name of its recipe. Raises UserError.

    parsed: whether the flags could be parsed; if not, the config has the values of the recipe.
    """
    recipe = _recipe(arguments) or ""
    if parsed:
        return read_config(flags.FLAGS[NAME]), recipe_name(recipe)
    config = load_recipe(recipe)
    _check_complete(config)
    return config, recipe_name(recipe)


def check_loaded() -> str | None:
    """Why the recipe of --config could not be loaded, in one line; None if it was loaded, or none
    was given. Call it after the flags are parsed."""
    config = flags.FLAGS[NAME].value if NAME in flags.FLAGS else None
    if config is None:
        return None
    try:
        config.get("seed")  # only here does ml_collections raise for a file it could not load
    except OSError:
        return _load(config_flags.get_config_filename(flags.FLAGS[NAME]))[1]
    return None


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments as absl and ml_collections understand them: paths in place of ~ and the names
    of recipes, each field once, and the default recipe of the command."""
    ready = with_paths(last_values([with_home(argument) for argument in arguments]))
    ready = with_auto(ready)
    if _default and _recipe(ready) is None:
        ready = [f"--{NAME}={recipe_path(_default)}", *ready]
    return ready


def with_auto(arguments: Sequence[str]) -> list[str]:
    """The arguments, where the word `auto`, in any case, is replaced by the value that stands for
    it in an automatic field."""
    if not any(argument.lower().endswith(AUTO_TEXT) for argument in arguments):
        return list(arguments)
    from rats_jax.config import AUTO, fields  # loads JAX

    stands_for = {
        f"{NAME}.{field.name}": AUTO_TEXT if field.type is str else str(AUTO)
        for field in fields()
        if field.automatic
    }
    replaced = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("-") or name.lstrip("-") not in stands_for:
            continue
        auto = stands_for[name.lstrip("-")]
        if value.lower() == AUTO_TEXT:
            replaced[i] = f"{name}={auto}"
        elif not equals and arguments[i + 1 : i + 2] and arguments[i + 1].lower() == AUTO_TEXT:
            replaced[i + 1] = auto
    return replaced


def with_home(argument: str) -> str:
    """Replaces the ~ in --config=~/recipe.py with the home directory."""
    name, equals, path = argument.partition("=")
    if name.lstrip("-") == NAME and equals and path.startswith("~"):
        return f"{name}={os.path.expanduser(path)}"
    return argument


def recipe_path(given: str) -> str:
    """The path for FILE or FILE:ARGUMENT, where FILE may be the name of a recipe in the package.
    A file with this name in the current directory takes precedence."""
    file, colon, argument = given.partition(":")
    found = None if os.path.isfile(file) else recipe_file(file)
    return f"{found}{colon}{argument}" if found else given


def recipe_name(path: str) -> str:
    """The shortest text that --config accepts for the recipe at this path."""
    return Path(path).stem if Path(path).parent == FOLDER else path


def with_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the names of recipes replaced by their paths."""
    replaced = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("-") or name.lstrip("-") != NAME:
            continue
        if equals:
            replaced[i] = f"{name}={recipe_path(value)}"
        elif i + 1 < len(arguments):
            replaced[i + 1] = recipe_path(arguments[i + 1])
    return replaced


def last_values(arguments: Sequence[str]) -> list[str]:
    """The arguments. A field that is given more than once keeps only its last value, as other flags
    do; ml_collections would join tuples."""
    names = [argument.partition("=")[0].lstrip("-") for argument in arguments]
    return [
        argument
        for i, (argument, name) in enumerate(zip(arguments, names, strict=True))
        if not ("=" in argument and name.startswith(f"{NAME}.") and name in names[i + 1 :])
    ]


def explain(arguments: Sequence[str]) -> str | None:
    """Why a command line with --config could not be parsed, in one line; None if its config is not
    the reason."""
    given = list(_given(arguments))
    file = _recipe(arguments)
    if file is None:
        if not given:
            return None
        if given[0][0] == NAME:
            return f"no --config: {ASK}"
        return f"--{given[0][0]} is a field of a recipe, and there is no --config: {ASK}"
    config, problem = _load(file)
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


def explain_flag(flag: str) -> str:
    """That a flag does not exist, in one line, with the flag or the fields that it may mean."""
    close = difflib.get_close_matches(flag, flags.FLAGS, n=1)
    names: list[str] = []
    if NAME in flags.FLAGS:
        from rats_jax.config import fields  # loads JAX

        names = [field.name for field in fields()]
    section, _, rest = flag.partition(".")
    name = rest if rest and difflib.get_close_matches(section, [NAME]) else flag
    if close and not same_field(name, names):
        meant = f"did you mean --{close[0]}?"
    elif near := nearest_fields(name, names):
        meant = f"did you mean {_choice(near)}?"
    else:
        meant = "--help lists the flags"
    return f"unknown flag --{flag}: {meant}"


def _recipe(arguments: Sequence[str]) -> str | None:
    """What --config is set to; None without --config."""
    return next((value for name, value in _given(arguments) if name == NAME), None)


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """(name, value) of --config and of each --config.FIELD; None for a field without a value."""
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            continue
        name = name.lstrip("-")
        if name != NAME and not name.startswith(f"{NAME}."):
            continue
        following = next(iter(arguments[i + 1 : i + 2]), "--")
        yield name, value if equals else None if following.startswith("--") else following


def _load(path: str) -> tuple[ConfigDict | None, str]:
    """A recipe, or None and what is wrong with it. path: FILE, or FILE:ARGUMENT."""
    file, *arguments = recipe_path(path).split(":", 1)
    if not file:
        return None, f"no --config: {ASK}"
    if os.path.isdir(file):
        files = sorted(f for f in Path(file).glob("*.py") if not f.name.startswith("_"))
        such = f"such as {files[0]}" if files else "a Python file with get_config()"
        return None, f"--{NAME}={path} is a folder: name a recipe in it, {such}"
    if not os.path.exists(file):
        return None, _not_found(path, file)
    try:
        found = runpy.run_path(file)
        if not callable(found.get("get_config")):
            return None, (
                f"--{NAME}={path} has no function get_config(): name a recipe, such as "
                f"--{NAME}=image_folder"
            )
        config = found["get_config"](*arguments)
    except (Exception, SystemExit) as error:
        return None, f"--{NAME}={path} cannot be loaded: {_where(error, file)}"
    if not isinstance(config, ConfigDict):
        return None, (
            f"get_config() of --{NAME}={path} returns {type(config).__name__}: let it return the "
            "config that rats_jax.config.default_config() makes, with its changes"
        )
    return config, ""


def _not_found(path: str, file: str) -> str:
    where = "" if os.path.isabs(file) else f" in {os.getcwd()}"
    names = recipe_names()
    close = difflib.get_close_matches(Path(file).stem, names, n=1)
    meant = f"did you mean --{NAME}={close[0]}? Otherwise " if close else ""
    return (
        f"--{NAME}={path} does not exist{where}: {meant}name a recipe by its path, or one of the "
        f"package: {', '.join(names)}"
    )


def _where(error: BaseException, file: str) -> str:
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"it is not Python (line {error.lineno}: {error.msg})"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if (wrong := WRONG_TYPE.match(text)) and wrong["type"] in TYPES:
        expected = EXPECTED[TYPES[wrong["type"]]]
        what = f"{wrong['field']} is set to {wrong['value']}, and {expected} is meant"
    return f"line {lines[-1]}: {what}" if lines else what


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
    recipes = AUTO_TEXT if _is_auto(name, here) else written(here)
    if value is None:
        if isinstance(here, bool):  # --config.SECTION.FIELD alone is true
            return None
        return f"--{path} needs a value: --{path}={recipes} is the recipe's"
    if not index and not _takes(type(here), value):
        expected = EXPECTED.get(type(here), type(here).__name__)
        return f"--{path}={value}: give {expected}, such as {recipes}"
    return None


def _is_auto(name: str, value: object) -> bool:
    """Whether the value of this field stands for one that is chosen at the start of a run."""
    from rats_jax.config import fields

    return any(field.is_auto(value) for field in fields() if field.name == name)


def _meant(config: ConfigDict, section: str, name: str) -> str:
    """Text for a name that is not a field: the nearest fields, and what the section has."""
    near = nearest_fields(name, _fields(config))
    sections = dict(_sections(config))
    if not near and section == NAME:  # no field is near, but perhaps a section: --config.modl
        near = difflib.get_close_matches(name.partition(".")[0], config, n=1)
    meant = f"did you mean {_choice(near)}? " if near else ""
    return f": {meant}{section} has {', '.join(sections[section])}"


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


def _sections(config: ConfigDict, path: str = NAME) -> Iterator[tuple[str, ConfigDict]]:
    yield path, config
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _sections(value, f"{path}.{name}")


def _fields(config: ConfigDict) -> Iterator[str]:
    """SECTION.FIELD of all fields."""
    for path, section in _sections(config):
        prefix = f"{path}.".removeprefix(f"{NAME}.")
        for name, value in section.items():
            if not isinstance(value, ConfigDict):
                yield prefix + name


def _has(config: ConfigDict, name: str) -> bool:
    section, _, field = f"{NAME}.{name}".rpartition(".")
    return field in dict(_sections(config)).get(section, ())
