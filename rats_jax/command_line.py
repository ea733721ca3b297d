"""What the entry points share: flags, and a user's mistake as one line with exit status 2."""

import difflib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from rats_jax import config_flag, usage
from rats_jax.device_failures import explained
from rats_jax.errors import FAILED, INTERRUPTED, Stopped, UserError
from rats_jax.paths import printable
from rats_jax.voice import complain, is_one_of_several, say, write_line

flags.disclaim_key_flags()  # --help of an entry point lists the flags that it defines through here

#: What Ctrl-C leaves of a command that trains.
GOES_ON = "interrupted; the same command resumes from the last checkpoint, if there is one"


_running = False


def is_running() -> bool:
    """Whether this process is a command, which a signal may end, and not a program of the user."""
    return _running


def run(main: Callable[[], None], *, out_of_memory: str, interrupted: str = "interrupted") -> None:
    """Parses absl flags and runs `main`. A user's mistake ends it with one line and exit status 2,
    and so do devices that are missing or too small; Ctrl-C ends it with the line `interrupted`.

    out_of_memory: what the user of this command can change to use less memory.
    """

    def guarded(_):
        global _running
        _running = True
        logging.set_verbosity(logging.WARNING)
        try:
            with explained(out_of_memory):
                main()
        except UserError as error:
            fail(str(error))
        except Stopped as stopped:
            say(str(stopped))
            _leave(stopped.status)
        except KeyboardInterrupt:
            complain(interrupted)
            # The interpreter's own end may crash in threads of JAX that are still compiling.
            _leave(INTERRUPTED)

    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by who started this
        stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    logging.set_verbosity(logging.ERROR)  # ml_collections warns of recipes; `explain` says it
    app.run(guarded, flags_parser=_parse)


def define_checkpoint() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """The flags --checkpoint and --weights of what takes a backbone, for `open_backbone`."""
    checkpoint = flags.DEFINE_string(
        "checkpoint",
        "",
        "A run's workdir, or one of its checkpoints (WORKDIR/checkpoints/STEP), or weights of "
        "DINO, DINOv2, DINOv3, timm or transformers: a file or a folder.",
    )
    weights = flags.DEFINE_string(
        "weights",
        "teacher",
        "Which weights, where there are several: teacher or student of a run, or the name of a set "
        "in a file (model_ema, target_encoder, ...).",
    )
    return checkpoint, weights


def require(*needed: tuple[flags.FlagHolder, str]) -> None:
    """Raises UserError at the first flag without a value; the texts say what to name."""
    for flag, what in needed:
        if not flag.value:
            raise UserError(f"no --{flag.name}: name {what}")


def fail(message: str, status: int = FAILED) -> NoReturn:
    """Exits with one line on standard error."""
    complain(f"error: {printable(message)}")
    if not is_one_of_several():
        sys.exit(status)
    _leave(status)  # the interpreter's own end would wait in JAX for the other processes


def _leave(status: int) -> NoReturn:
    if sys.stdout:
        sys.stdout.flush()
    os._exit(status)


def _parse(argv: list[str]) -> list[str]:
    """The arguments that are no flags. Prints --help or --version and ends, where asked for."""
    if text := usage.asked_for(argv[1:]):
        write_line(text, sys.stdout)
        sys.exit(0)
    arguments = [config_flag.with_home(_underscored(argument)) for argument in argv[1:]]
    arguments = config_flag.with_paths(config_flag.last_values(arguments))
    # ml_collections looks fields up while absl parses, and lets its own errors out, as well as
    # those of the recipe.
    try:
        left = flags.FLAGS([argv[0], *arguments])
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, flags.FLAGS, n=1)
        meant = f"did you mean --{close[0]}?" if close else "--help lists the flags"
        reason = config_flag.explain(arguments)
        fail(reason or f"there is no flag --{error.flagname}: {meant}")
    except (Exception, SystemExit) as error:  # the latter: of a recipe
        if reason := config_flag.explain(arguments):
            fail(reason)
        if not isinstance(error, flags.Error):
            raise
        fail(_one_line(error))
    if reason := config_flag.check_loaded():
        fail(reason)
    if len(left) > 1:
        # a file: the shell has expanded a pattern
        hint = ", a pattern of files in quotes" if os.path.exists(left[1]) else ""
        fail(f"unexpected argument {left[1]!r}; options are written --name=value{hint}")
    return left


def _underscored(argument: str) -> str:
    """--skip-broken as --skip_broken. Names with dots, such as config fields, stay as they are."""
    name, equals, value = argument.partition("=")
    if name.startswith("--") and "." not in name:
        name = "--" + name[2:].replace("-", "_")
    return name + equals + value


#: What Python says of a flag's value, and what the user is told.
_VALUES = {
    "invalid literal for int": "give a whole number",
    "could not convert string to float": "give a number",
    "Non-boolean argument": "give true or false",
}


def _one_line(error: flags.Error) -> str:
    """absl's message as one line."""
    text = " ".join(str(error).split())
    for said, meant in _VALUES.items():
        if said in text:
            flag = text.removeprefix("flag ").partition(": ")[0]
            return f"{flag}: {meant}"
    return text
