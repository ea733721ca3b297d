"""The flag --config, which names a recipe or its path, and --config.SECTION.FIELD=VALUE."""

from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from rats_jax import config_arguments
from rats_jax.config_arguments import NAME, given_fields, given_recipe
from rats_jax.config_kinds import DEFAULTS, TRAIN, ask, wrong_command
from rats_jax.config_text import sections
from rats_jax.configs import recipe_names
from rats_jax.errors import UserError
from rats_jax.recipes import load, recipe_name

flags.disclaim_key_flags()  # --config is a flag of the entry point that calls define_config

_default: str | None = None  # the recipe of a command line without --config
_command = TRAIN  # the command that takes the config: TRAIN or FINETUNE


def define_config(default: str | None = None, *, command: str = TRAIN) -> flags.FlagHolder:
    """The flag --config of an entry point. Its value is a locked ConfigDict, see `read_config`.

    default: the name of a recipe in the package. command: the one that takes
    such configs, TRAIN or FINETUNE.
    """
    global _default, _command
    _default, _command = default, command
    return config_flags.DEFINE_config_file(
        NAME,
        None,  # ml_collections would set the fields of a default here, where errors are not caught
        help_string=f"Recipe: one of {', '.join(recipe_names(command))}, or a Python file with "
        "get_config(). --config.SECTION.FIELD=VALUE sets a field; --config=RECIPE --help lists "
        "all fields." + (f" Default: {default}." if default else ""),
    )


def read_config(flag: flags.FlagHolder | flags.Flag) -> ConfigDict:
    """The config of a `define_config` flag. Raises UserError unless it has every field."""
    config = flag.value
    if config is None:
        raise UserError(f"no --config: {ask(_command)}")
    _check_complete(config)
    from rats_jax.config.sizes import with_size

    return with_size(config, by_hand=config_flags.get_override_values(flags.FLAGS[NAME]))


def _check_complete(config: ConfigDict) -> None:
    from rats_jax.config import fields_of  # loads JAX, which data workers do without

    if missing := [x.name for x in fields_of(_command) if not _has(config, x.name)]:
        raise UserError(
            f"the recipe has no config.{min(missing)}: let its get_config() start from "
            f"{DEFAULTS[_command]}"
        )


def command() -> str:
    """The command whose configs --config of this process takes: TRAIN or FINETUNE."""
    return _command


def load_recipe(recipe: str) -> ConfigDict:
    """The config of a recipe, found by name or path as --config does. Raises UserError."""
    from rats_jax.config.sizes import with_size

    config, problem = load(recipe, None)
    if config is None:
        raise UserError(problem)
    return with_size(config) if "model" in config else config


def is_given(arguments: Sequence[str]) -> bool:
    """Whether the arguments name a recipe or a field."""
    return NAME in flags.FLAGS and any(True for _ in given_fields(arguments))


def config_of_help(arguments: Sequence[str], *, parsed: bool) -> tuple[ConfigDict, str]:
    """The config that help lists, and the name of its recipe. Raises UserError.

    parsed: whether the flags could be parsed; if not, the config has the values of the recipe.
    """
    recipe = given_recipe(arguments) or ""
    if parsed:
        return read_config(flags.FLAGS[NAME]), recipe_name(recipe)
    config = load_recipe(recipe)
    if problem := wrong_command(config, _command, name=f"--config={recipe_name(recipe)}"):
        raise UserError(problem)
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
        return load(_file(), _command)[1]
    return wrong_command(config, _command, name=f"--config={recipe_name(_file())}")


def prepared(arguments: Sequence[str]) -> list[str]:
    """As `config_arguments.prepared`, with the default recipe of the command."""
    return config_arguments.prepared(arguments, default=_default, command=_command)


def _file() -> str:
    return config_flags.get_config_filename(flags.FLAGS[NAME])


def _has(config: ConfigDict, name: str) -> bool:
    section, _, field = f"{NAME}.{name}".rpartition(".")
    return field in dict(sections(config)).get(section, ())
