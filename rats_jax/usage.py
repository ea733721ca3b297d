"""What --help and --version print."""

import itertools
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from absl import flags

from rats_jax import __version__

HELP = ("-h", "-help", "--help", "--helpshort")
VERSION = ("-version", "--version")
_NAMES = 24  # columns for the names of flags
_WIDEST = 100  # columns


def asked_for(arguments: Sequence[str]) -> Callable[[], str] | None:
    """Makes the help or the version, if the arguments ask for one of them."""
    for argument in _options(arguments):
        if argument in HELP:
            return help_text
        if argument in VERSION:
            return version_text
    return None


def without_help(arguments: Sequence[str]) -> list[str]:
    """The arguments for which help is asked, without the flag that asks for it."""
    return [argument for argument in _options(arguments) if argument not in HELP]


def _options(arguments: Sequence[str]) -> Iterator[str]:
    return itertools.takewhile(lambda argument: argument != "--", arguments)


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


def wrapped(text: str, indent: int = 0) -> list[str]:
    """The text in lines that fit the terminal, each behind so many spaces."""
    width = min(shutil.get_terminal_size().columns, _WIDEST) - indent
    lines = textwrap.wrap(text, max(width, 30), break_on_hyphens=False)
    return [" " * indent + line for line in lines]


def _described(flag: flags.Flag) -> list[str]:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    text = " ".join(flag.help.split()).replace(".; repeat", ". Repeat")  # absl's own addition
    if default := _default(flag):
        text += f" Default: {default}."
    indent = _NAMES + 2
    head = f"  {name:{_NAMES}}"
    lines = wrapped(text, indent)
    return [head + lines[0][indent:], *lines[1:]] if len(head) == indent else [head, *lines]


def _default(flag: flags.Flag) -> str:
    """The default as it is written on a command line; "" for none."""
    default = flag.default
    if default in (None, "", [], False):
        return ""
    if isinstance(default, list):
        return ",".join(default)
    return "on" if default is True else str(default)


def _of(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
