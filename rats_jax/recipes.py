"""Recipes: Python files with get_config(), found by name or path, and why one cannot be loaded."""

import difflib
import os
import re
import runpy
import traceback
from pathlib import Path

from ml_collections import ConfigDict

from rats_jax.config_kinds import DEFAULTS, TRAIN, ask, wrong_command
from rats_jax.config_text import EXPECTED
from rats_jax.configs import FOLDERS, recipe_file, recipe_names

TYPES = {kind.__name__: kind for kind in EXPECTED}
#: The error of ml_collections when a recipe sets a field to a value of another type.
WRONG_TYPE = re.compile(
    r"Could not override field '(?P<field>\w+)' \(.*?\)\. (?P<value>.*) is of original type "
    r"<class '\w+'> and cannot be casted to type <class '(?P<type>\w+)'>"
)


def recipe_path(given: str) -> str:
    """The path for FILE or FILE:ARGUMENT, where FILE may be the name of a recipe in the package.
    A file with this name in the current directory takes precedence."""
    file, colon, argument = given.partition(":")
    found = None if os.path.isfile(file) else recipe_file(file)
    return f"{found}{colon}{argument}" if found else given


def recipe_name(path: str) -> str:
    """The shortest text that --config accepts for the recipe at this path."""
    return Path(path).stem if Path(path).parent in FOLDERS.values() else path


def load(path: str, command: str | None = TRAIN) -> tuple[ConfigDict | None, str]:
    """A recipe, or None and what is wrong with it.

    path: FILE, or FILE:ARGUMENT. command: that the recipe must belong to, TRAIN or FINETUNE; None
    for either.
    """
    file, *arguments = recipe_path(path).split(":", 1)
    if not file:
        return None, f"no --config: {ask(command or TRAIN)}"
    if os.path.isdir(file):
        files = sorted(f for f in Path(file).glob("*.py") if not f.name.startswith("_"))
        such = f"such as {files[0]}" if files else "a Python file with get_config()"
        return None, f"--config={path} is a folder: name a recipe in it, {such}"
    if not os.path.exists(file):
        return None, _not_found(path, file, command)
    try:
        found = runpy.run_path(file)
        if not callable(found.get("get_config")):
            return None, (f"--config={path} has no function get_config(): {ask(command or TRAIN)}")
        config = found["get_config"](*arguments)
    except (Exception, SystemExit) as error:
        return None, f"--config={path} cannot be loaded: {_where(error, file)}"
    if not isinstance(config, ConfigDict):
        return None, (
            f"get_config() of --config={path} returns {type(config).__name__}: let it return the "
            f"config that {DEFAULTS[command or TRAIN]} makes, with its changes"
        )
    name = f"--config={recipe_name(path)}"
    if command and (problem := wrong_command(config, command, name=name)):
        return None, problem
    return config, ""


def _not_found(path: str, file: str, command: str | None) -> str:
    where = "" if os.path.isabs(file) else f" in {os.getcwd()}"
    names = [name for each in FOLDERS if command in (None, each) for name in recipe_names(each)]
    close = difflib.get_close_matches(Path(file).stem, names, n=1)
    meant = f"did you mean --config={close[0]}? Otherwise " if close else ""
    return (
        f"--config={path} does not exist{where}: {meant}name a recipe by its path, or one of the "
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
