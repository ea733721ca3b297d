"""What --help and --version print."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from absl import flags
from ml_collections import ConfigDict, config_flags

from rats_jax import __version__
from rats_jax.config_flag import recipe_name

HELP = ("-h", "-help", "--help", "--helpshort")
VERSION = ("-version", "--version")
_NAMES = 24  # columns for the names of flags
_WIDEST = 100  # columns


def asked_for(arguments: Sequence[str]) -> str | None:
    """The help or the version, if the arguments ask for one of them."""
    for argument in arguments:
        if argument == "--":
            break
        if argument in HELP:
            return help_text()
        if argument in VERSION:
            return version_text()
    return None


def version_text() -> str:
    """The versions of this package, and of those that affect its results most."""
    return f"rats_jax {__version__} (Python {sys.version.split()[0]}, {_of('jax')}, {_of('flax')})"


def help_text() -> str:
    """The docstring of the running command, and its flags in the order of their definition."""
    doc = (sys.modules["__main__"].__doc__ or "").strip()
    lines = [doc, "", "Flags:"]
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        lines += _described(flag)
    lines += ["", f"  {'-h, --help':{_NAMES}}This text.", f"  {'--version':{_NAMES}}The versions."]
    return "\n".join(lines)


def _described(flag: flags.Flag) -> list[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    text = " ".join(flag.help.split()).replace(".; repeat", ". Repeat")  # absl's own addition
    if default := _default(flag):
        text += f" Default: {default}."
    width = min(shutil.get_terminal_size().columns, _WIDEST) - _NAMES - 2
    first, *more = textwrap.wrap(text, max(width, 30), break_on_hyphens=False)
    indent = " " * (_NAMES + 2)
    head = f"  {name:{_NAMES}}"
    lines = [head + first] if len(head) == len(indent) else [head, indent + first]
    return [*lines, *(indent + line for line in more)]


def _default(flag: flags.Flag) -> str:
    """The default as it is written on a command line; "" for none."""
    default = flag.default
    if default in (None, "", [], False):
        return ""
    if isinstance(default, ConfigDict):
        return recipe_name(config_flags.get_config_filename(flag))
    if isinstance(default, list):
        return ",".join(default)
    return "on" if default is True else str(default)


def _of(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
