"""What the entry points share: configs from the command line, and mistakes told in one line."""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO

from absl import app, flags, logging
from ml_collections import ConfigDict

from rats_jax.errors import Stopped, UserError

FAILED = 2  # exit status of a user's mistake
LOST = 75  # of the end of another process: the same command may go on (EX_TEMPFAIL)
SAVED = 85  # of a SIGTERM, after the state was saved: the same command goes on
INTERRUPTED = 128 + signal.SIGINT

flags.disclaim_key_flags()  # --help of an entry point lists the flags that it defines through here

#: What Ctrl-C leaves of a command that trains.
GOES_ON = "interrupted; the same command goes on from the last checkpoint, if there is one"

_process: int | None = None  # the number of this process among several


def speak_as(process: int) -> None:
    """This process is one of several: only process 0 reports, each names itself in its errors."""
    global _process
    _process = process


def run(main: Callable[[], None], *, interrupted: str = "interrupted") -> None:
    """Parses absl flags and runs `main`; a mistake ends it with one line and exit status 2, Ctrl-C
    with the line `interrupted`."""

    def guarded(_):
        try:
            main()
        except UserError as error:
            fail(str(error))
        except Stopped as stopped:
            say(str(stopped))
            _leave(stopped.status)
        except KeyboardInterrupt:
            _complain(interrupted)
            # The interpreter's own end may crash in threads of JAX that are still compiling.
            _leave(INTERRUPTED)

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=_parse)


def define_checkpoint() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """The flags --checkpoint and --weights of what takes a backbone, for `open_backbone`."""
    checkpoint = flags.DEFINE_string(
        "checkpoint",
        "",
        "A run's workdir, or one of its checkpoints (WORKDIR/checkpoints/STEP), or weights of "
        "DINO, DINOv2, DINOv3, timm or transformers: a file or a folder.",
    )
    whose = flags.DEFINE_enum("weights", "teacher", ["teacher", "student"], "Whose weights.")
    return checkpoint, whose


def require(*needed: tuple[flags.FlagHolder, str]) -> None:
    """Raises UserError at the first flag without a value; the texts say what to name."""
    for flag, what in needed:
        if not flag.value:
            raise UserError(f"no --{flag.name}: name {what}")


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


def fail(message: str, status: int = FAILED) -> NoReturn:
    """Exits with one line on standard error."""
    _complain(f"error: {message}")
    if _process is None:
        sys.exit(status)
    _leave(status)  # the interpreter's own end would wait in JAX for the other processes


def say(message: str) -> None:
    """A line of a command's report, at once also where output is a pipe."""
    if not _process:
        _print(message, sys.stdout)


def _complain(message: str) -> None:
    who = "" if _process is None else f"process {_process}: "
    _print(f"{who}{message}", sys.stderr)


def _print(message: str, stream: TextIO) -> None:
    try:
        print(message, file=stream, flush=True)
    except OSError:  # who reads it has gone, as `tee` by the same Ctrl-C: the run has more to lose
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(status)


def _parse(argv: list[str]) -> list[str]:
    # ml_collections looks fields up while absl parses, and lets its own errors out.
    try:
        left = flags.FLAGS([argv[0], *map(_underscored, argv[1:])])
    except (flags.Error, KeyError, AttributeError, TypeError, ValueError, OSError) as error:
        fail(_one_line(error))
    if len(left) > 1:
        fail(f"unexpected argument {left[1]!r}; options are written --name=value")
    return left


def _underscored(argument: str) -> str:
    """--skip-broken as --skip_broken. Names with dots, such as config fields, stay as they are."""
    name, equals, value = argument.partition("=")
    if name.startswith("--") and "." not in name:
        name = "--" + name[2:].replace("-", "_")
    return name + equals + value


def _one_line(error: Exception) -> str:
    """An error's message as one line. ml_collections wraps one error's repr in another: the quotes
    and escapes of that are taken off."""
    text = str(error.args[0] if error.args else error)
    text = text.replace("\\n", "\n").replace("\\'", "'")
    if text[:1] in ("'", '"') and text[:1] == text[-1:]:
        text = text[1:-1]
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
