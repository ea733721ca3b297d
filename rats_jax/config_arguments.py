"""The arguments of a command line about --config, as absl and ml_collections understand them."""

import os
from collections.abc import Iterator, Sequence

from rats_jax.config_kinds import TRAIN
from rats_jax.recipes import recipe_path

NAME = "config"
AUTO_TEXT = "auto"  # as in rats_jax.config, which loads JAX


def prepared(
    arguments: Sequence[str], *, default: str | None = None, command: str = TRAIN
) -> list[str]:
    """The arguments with paths in place of ~ and the names of recipes, each field once, and the
    default recipe of the command, if it has one and none is given.

    command: that takes the config, TRAIN or FINETUNE.
    """
    ready = with_paths(last_values([with_home(argument) for argument in arguments]))
    ready = with_auto(ready, command)
    if default and given_recipe(ready) is None:
        ready = [f"--{NAME}={recipe_path(default)}", *ready]
    return ready


def given_recipe(arguments: Sequence[str]) -> str | None:
    """What --config is set to; None without --config."""
    return next((value for name, value in given_fields(arguments) if name == NAME), None)


def given_fields(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
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


def with_auto(arguments: Sequence[str], command: str = TRAIN) -> list[str]:
    """The arguments, where the word `auto`, in any case, is replaced by the value that stands for
    it in an automatic field of the command's configs."""
    if not any(argument.lower().endswith(AUTO_TEXT) for argument in arguments):
        return list(arguments)
    from rats_jax.config import AUTO, fields_of  # loads JAX

    sentinels = {
        f"{NAME}.{field.name}": AUTO_TEXT if field.type is str else str(AUTO)
        for field in fields_of(command)
        if field.automatic
    }
    replaced = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("-") or name.lstrip("-") not in sentinels:
            continue
        auto = sentinels[name.lstrip("-")]
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
