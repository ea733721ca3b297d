"""What the entry points share: flags, and user errors as one line with exit status 2."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from rats_jax import config_errors, config_flag, usage
from rats_jax.device_failures import explained
from rats_jax.errors import FAILED, INTERRUPTED, Stopped, UserError
from rats_jax.paths import printable
from rats_jax.voice import complain, is_one_of_several, say, write_line

flags.disclaim_key_flags()  # --help of an entry point lists the flags that it defines through here

#: The message after Ctrl-C in a command that trains.
INTERRUPTED_TRAINING = (
    "interrupted; run the same command again to resume from the last checkpoint, if there is one"
)


_running = False


def is_running() -> bool:
    """Whether this process runs a command of rats_jax, which a signal may end; False in a user's
    own program."""
    return _running


def run(main: Callable[[], None], *, out_of_memory: str, interrupted: str = "interrupted") -> None:
    """Parses absl flags and runs `main`. A user error ends it with one line and exit status 2, and
    so do devices that are not available or have too little memory. Ctrl-C ends it with the line
    `interrupted`.

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
            # A normal exit of the interpreter may crash in JAX threads that are still compiling.
            _leave(INTERRUPTED)

    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by the parent process
        stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    logging.set_verbosity(logging.ERROR)  # hides recipe warnings, which `explain` replaces
    app.run(guarded, flags_parser=_parse)


def define_checkpoint() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """The flags --checkpoint and --weights of commands that load a backbone by `open_backbone`."""
    checkpoint = flags.DEFINE_string(
        "checkpoint",
        "",
        "A run's workdir, or one of its checkpoints (WORKDIR/checkpoints/STEP), or weights of "
        "DINO, DINOv2, DINOv3, timm or transformers: a file or a folder; or demo, a small RATS in "
        "the package.",
    )
    weights = flags.DEFINE_string(
        "weights",
        "teacher",
        "Which weights to use, if there are several: teacher or student of a run, or the name of a "
        "set in a file (model_ema, target_encoder, ...).",
    )
    return checkpoint, weights


def require(*needed: tuple[flags.FlagHolder, str]) -> None:
    """Raises UserError for the first flag without a value. The texts say what value to give."""
    for flag, what in needed:
        if not flag.value:
            raise UserError(f"--{flag.name} is missing: give {what}")


def fail(message: str, status: int = FAILED) -> NoReturn:
    """Exits with one line on standard error."""
    complain(f"error: {printable(message)}")
    if not is_one_of_several():
        sys.exit(status)
    _leave(status)  # a normal exit would wait in JAX for the other processes


def _leave(status: int) -> NoReturn:
    if sys.stdout:
        sys.stdout.flush()
    os._exit(status)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; returns the other arguments. Handles --help and --version, and exits."""
    program, *given = argv
    asked = usage.asked_for(given)
    if asked is None:
        left, problem = _parsed(program, given)
        if problem:
            fail(problem)
        return left
    write_line(asked(), sys.stdout)
    given = usage.without_help(given)
    if asked is usage.help_text and config_flag.is_given(given):
        _list_fields(program, given)
    sys.exit(0)


def _list_fields(program: str, given: list[str]) -> None:
    """Prints the fields of the config that the arguments give. If they cannot be parsed, prints
    those of the recipe, and exits with the reason."""
    _, problem = _parsed(program, given)
    try:
        config, recipe = config_flag.config_of_help(_prepared(given), parsed=not problem)
    except UserError as error:
        fail(problem or str(error))
    from rats_jax.field_list import field_list  # loads JAX

    write_line(f"\n{field_list(config, recipe)}", sys.stdout)
    if problem:
        fail(problem)


def _prepared(given: list[str]) -> list[str]:
    return config_flag.prepared([_underscored(argument) for argument in given])


def _parsed(program: str, given: list[str]) -> tuple[list[str], str | None]:
    """Sets the flags. Returns the arguments that are not flags, and what is wrong in one line."""
    arguments = _prepared(given)
    # ml_collections looks up fields while absl parses. Its errors, and those of the recipe, are not
    # flags.Error.
    try:
        left = flags.FLAGS([program, *arguments])
    except flags.UnrecognizedFlagError as error:
        return [], _explained(arguments, error.flagname)
    except (Exception, SystemExit) as error:  # a recipe may raise SystemExit
        if reason := config_errors.explain(arguments, config_flag.command()):
            return [], reason
        if not isinstance(error, flags.Error):
            raise
        return [], _one_line(error)
    if reason := config_flag.check_loaded():
        return left, reason
    if len(left) > 1:
        # If it is a file, the shell has expanded a pattern.
        hint = ", and a pattern of files in quotes" if os.path.exists(left[1]) else ""
        return left, f"unexpected argument {left[1]!r}; write options as --name=value{hint}"
    return left, None


def _explained(arguments: list[str], flag: str) -> str:
    command = config_flag.command()
    return config_errors.explain(arguments, command) or config_errors.explain_flag(flag, command)


def _underscored(argument: str) -> str:
    """--skip-broken as --skip_broken. Names with dots, such as config fields, are not changed."""
    name, equals, value = argument.partition("=")
    if name.startswith("--") and "." not in name:
        name = "--" + name[2:].replace("-", "_")
    return name + equals + value


#: Python's error for the value of a flag, and the message for the user.
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
