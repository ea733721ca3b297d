"""What the entry points share: configs from the command line, and mistakes told in one line."""

import os
import signal
import sys
from collections.abc import Callable

from absl import app, flags, logging
from ml_collections import ConfigDict

from rats_jax.errors import UserError

FAILED = 2  # exit status of a user's mistake


def run(main: Callable[[], None]) -> None:
    """Parses absl flags and runs `main`; a mistake ends it with one line and exit status 2."""

    def guarded(_):
        try:
            main()
        except UserError as error:
            fail(str(error))
        except KeyboardInterrupt:
            print(
                "interrupted; the same command goes on from the last checkpoint, if there is one",
                file=sys.stderr,
            )
            sys.stdout.flush()
            sys.stderr.flush()
            # The interpreter's own end may crash in threads of JAX that are still compiling.
            os._exit(128 + signal.SIGINT)

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=_parse)


def read_config(flag: flags.FlagHolder) -> ConfigDict:
    """The config of a `DEFINE_config_file` flag."""
    config = flag.value
    if config is None:
        raise UserError("no --config: name a recipe, such as --config=configs/image_folder.py")
    try:
        config.get("seed")  # a file that failed to load says so only now
    except OSError as error:
        raise UserError(_one_line(error)) from None
    return config


def fail(message: str) -> None:
    """Exits with one line on standard error."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(FAILED)


def say(message: str) -> None:
    """A line of a command's report, at once also where output is a pipe."""
    print(message, flush=True)


def _parse(argv: list[str]) -> list[str]:
    # ml_collections looks fields up while absl parses, and lets its own errors out.
    try:
        left = flags.FLAGS(argv)
    except (flags.Error, KeyError, AttributeError, TypeError, ValueError, OSError) as error:
        fail(_one_line(error))
    if len(left) > 1:
        fail(f"unexpected argument {left[1]!r}; options are written --name=value")
    return left


def _one_line(error: Exception) -> str:
    """An error's message as one line. ml_collections wraps one error's repr in another: the quotes
    and escapes of that are taken off."""
    text = str(error.args[0] if error.args else error)
    text = text.replace("\\n", "\n").replace("\\'", "'")
    if text[:1] in ("'", '"') and text[:1] == text[-1:]:
        text = text[1:-1]
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
