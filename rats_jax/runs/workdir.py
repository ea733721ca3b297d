"""The directory of a run, and the check that two starts belong to the same run.

config.json       every field, as of the last start; under "automatic", why fields that were chosen
                  automatically have their values
checkpoints/      orbax, one directory per step
damaged/          checkpoints that could not be restored
metrics.jsonl     one line per report; metrics.old.jsonl: from before a start at step 0
tensorboard/      the same metrics as TensorBoard events, with the config and pictures
dynamics.png      the curves of the evaluations, if there are any
events.jsonl      starts, alarms and other events
unreadable.txt    images that could not be read, if any
stacks.txt        stacks of all threads, if the run hung
.lock             keeps a second run out
.started          lets several processes check that they have the same directory
"""

import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from ml_collections import ConfigDict

from rats_jax.config import fields
from rats_jax.config.old_runs import is_fixed, with_old_fields
from rats_jax.config_kinds import command_of
from rats_jax.errors import UserError
from rats_jax.files import lock, write_whole
from rats_jax.paths import local_path, printable
from rats_jax.runs.checkpoints.folder_names import check_folder
from rats_jax.runs.checkpoints.steps import steps_in
from rats_jax.voice import say

SIGN = ".started"
AUTOMATIC = "automatic"  # the entry of config.json that is no field
ENDING_SECONDS = 5  # seconds that an earlier run may take to end
SIGN_SECONDS = 10  # seconds until a network file system shows what another host has written


@contextmanager
def open_workdir(
    path: str, config: ConfigDict, *, automatic: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Creates the directory or opens the run in it, and keeps other runs out until the block ends.

    A new directory gets its config.json at once. An existing config.json is not changed until
    `write_config`, so that a start that is refused changes nothing. Without a checkpoint, any
    config continues it.

    automatic: why automatic fields have their values, by field.

    Raises UserError if the directory cannot be written to, is in use by another run, or contains a
    run of another model.
    """
    workdir = folder_of(path)
    with ExitStack() as stack, _usable(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
        stack.enter_context(_locked(workdir))
        if (was := earlier_config(workdir)) is not None:
            changes(was, config, workdir)
        elif (workdir / "config.json").exists():
            _check_it_is_of_a_run(workdir)
        else:
            write_config(workdir, config, automatic=automatic)
        block = stack.pop_all()
    with block:
        yield workdir


def write_config(
    workdir: Path, config: ConfigDict, *, automatic: Mapping[str, str] | None = None
) -> None:
    """Writes config.json atomically. automatic: as for `open_workdir`."""
    tree = config.to_dict() | ({AUTOMATIC: dict(automatic)} if automatic else {})
    with _usable(workdir):
        write_whole(workdir / "config.json", _json(tree), durable=True)


@contextmanager
def _usable(workdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"--workdir {workdir} cannot be used ({error.strerror or error}); choose a directory "
            "that you may write to"
        ) from error


@contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    with (workdir / ".lock").open("a+", encoding="utf-8") as file:
        until = time.monotonic() + ENDING_SECONDS
        while not _lock(file):
            if time.monotonic() > until:
                file.seek(0)
                raise UserError(
                    f"--workdir {workdir} is in use by another run ({file.read().strip()}): wait "
                    "for it, end it, or choose another --workdir"
                )
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _lock(file: TextIO) -> bool:
    try:
        return lock(file)
    except OSError as error:
        say(
            f"warning: {file.name} cannot be locked ({error.strerror}): do not start a second run "
            "here"
        )
        return True


@contextmanager
def writing_to(workdir: Path) -> Iterator[None]:
    """Turns the error of a full or read-only disk into a UserError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise UserError(
            f"{error.filename or workdir} cannot be written ({error.strerror}): free some space "
            "and start again; the checkpoints are complete"
        ) from error


def check_in_place(workdir: Path) -> None:
    """Raises UserError if the workdir was moved or removed during training: later files would be
    saved apart from the earlier ones."""
    if not (workdir / "config.json").exists():
        raise UserError(
            f"{printable(str(workdir))} no longer has a config.json, so it was moved or removed "
            "while the run trained: move it back, or give its new place as --workdir, and start "
            "again from the last checkpoint"
        )


def folder_of(path: str) -> Path:
    """The directory that --workdir names."""
    if not path:
        raise UserError("--workdir is missing: give the directory of this run")
    if "://" in path:
        raise UserError(
            f"--workdir {path} is not a directory: mount the bucket, or use a disk that all hosts "
            "share"
        )
    workdir = local_path(path)
    if path.startswith("~") and str(workdir).startswith("~"):
        raise UserError(
            f"--workdir {printable(path)}: there is no such user, or no home directory; write the "
            "path in full"
        )
    check_folder(workdir, "--workdir")
    return workdir


def sign(workdir: Path) -> str:
    """Writes a random word to the directory, by which other processes recognize it."""
    word = uuid.uuid4().hex
    with _usable(workdir):
        write_whole(workdir / SIGN, word)
    return word


def take_part(path: str, config: ConfigDict, word: str, theirs: Mapping) -> Path:
    """The directory, for a process other than process 0, which has already opened and signed it.

    word: as `sign` returned it. theirs: the config of process 0, as `as_json`. Raises UserError if
    this process has another directory or config.
    """
    workdir = folder_of(path)
    file, until = workdir / SIGN, time.monotonic() + SIGN_SECONDS
    while not file.exists() or file.read_text(encoding="utf-8") != word:
        if time.monotonic() > until:
            raise UserError(
                f"--workdir {path} is not the same directory here as in process 0: choose one on "
                "a file system that all hosts share"
            )
        time.sleep(0.2)
    theirs, ours = flat(theirs), flat(as_json(config))
    may_differ = {field.name for field in fields(config) if field.per_process}
    for name in sorted(theirs | ours):
        if theirs.get(name) != ours.get(name) and name not in may_differ:
            raise UserError(
                f"config.{name} is {ours.get(name)} here and {theirs.get(name)} in process 0: "
                "start all processes with the same config"
            )
    return workdir


def load_config(workdir: Path) -> ConfigDict:
    """The config of the run in a directory. Raises UserError if there is none."""
    file = workdir / "config.json"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        tree.pop(AUTOMATIC, None)
        return ConfigDict(with_old_fields(tree))
    except FileNotFoundError:
        raise UserError(
            f"{workdir} contains no config.json: it is not the workdir of a run"
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): make it readable") from None
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{file} is damaged ({error}): delete it, if this is the workdir of the run, or "
            "choose another --workdir"
        ) from None


def earlier_config(workdir: Path) -> ConfigDict | None:
    """The config that a start must fit: of the run in a directory; None if nothing was saved."""
    if not (workdir / "config.json").exists() or not steps_in(workdir / "checkpoints"):
        return None
    return load_config(workdir)


def check_command(workdir: Path, config: ConfigDict) -> None:
    """Raises UserError if the directory contains a run of another command."""
    if (workdir / "config.json").exists():
        _check_command(load_config(workdir), config, workdir)


def _check_command(was: ConfigDict, config: ConfigDict, workdir: Path) -> None:
    if (command := command_of(was)) != command_of(config):
        raise UserError(
            f"--workdir {workdir} contains a run of rats {command}: choose another --workdir"
        )


def _check_it_is_of_a_run(workdir: Path) -> None:
    """Raises UserError for the config.json of something else, which the start would replace."""
    config = load_config(workdir)
    has = flat(config.to_dict())
    if any(field.fixed and field.name not in has for field in fields(config)):
        raise UserError(
            f"{workdir}/config.json is not that of a run of rats_jax: choose another --workdir"
        )


def load_automatic(workdir: Path) -> dict[str, str]:
    """Why automatic fields of the run have their values, by field. Call it after `load_config`."""
    return json.loads((workdir / "config.json").read_text(encoding="utf-8")).get(AUTOMATIC, {})


def as_json(config: ConfigDict) -> dict:
    """The config after a round trip through JSON, with lists instead of tuples."""
    return json.loads(_json(config.to_dict()))


def _json(tree: Mapping) -> str:
    return json.dumps(tree, indent=2) + "\n"


def flat(tree: Mapping, prefix: str = "") -> dict:
    """Flattens nested mappings to {"section.field": value}."""
    fields = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def changes(was: ConfigDict, config: ConfigDict, workdir: Path) -> list[str]:
    """A line for each field that has changed, except for fields marked `silent`.

    Raises UserError for a field that must not change within a run, and for a run of another
    command.
    """
    _check_command(was, config, workdir)
    old, new = flat(as_json(was)), flat(as_json(config))
    changed = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    for name in changed:
        if is_fixed(name, config):
            raise UserError(
                f"--workdir {workdir} contains a different run: config.{name} is {old.get(name)} "
                f"there and {new.get(name)} here; choose another --workdir"
            )
    silent = {field.name for field in fields(config) if field.silent}
    return [
        f"config.{name} was {old.get(name)} and is {new.get(name)} from now on"
        for name in changed
        if name not in silent
    ]
