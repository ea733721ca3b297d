"""The directory of a run, and what makes two starts the same run.

config.json       every field, as last started
checkpoints/      orbax, one directory a step
damaged/          checkpoints that could not be restored
metrics.jsonl     one line a report; metrics.old.jsonl: of a start before one from the beginning
tensorboard/      the same as events, with the config and pictures
dynamics.png      the curves of the evaluations, if there are any
events.jsonl      starts, alarms and what else happened
unreadable.txt    images that could not be read, if any
stacks.txt        where a run hung, if it did
.lock             keeps a second run out
.started          by which several processes know the directory for the same
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
from rats_jax.errors import UserError
from rats_jax.files import lock, write_whole
from rats_jax.paths import local_path, printable
from rats_jax.runs.checkpoints.folder_names import check_folder
from rats_jax.voice import say

SIGN = ".started"
ENDING_SECONDS = 5  # seconds that a run before this one may take to end
SIGN_SECONDS = 10  # until a network's file system shows what another host has written


@contextmanager
def open_workdir(path: str, config: ConfigDict) -> Iterator[Path]:
    """Creates the directory or opens the run in it, and keeps other runs out until the block ends.

    A new directory gets its config.json at once. The one of an older run stays as it is until
    `write_config`, so that a start that is refused changes nothing.

    Raises UserError when it cannot be written to, when a run is at work in it, or when it holds a
    run of another model.
    """
    workdir = folder_of(path)
    with ExitStack() as stack, _usable(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
        stack.enter_context(_locked(workdir))
        if (workdir / "config.json").exists():
            changes(load_config(workdir), config, workdir)
        else:
            write_config(workdir, config)
        block = stack.pop_all()
    with block:
        yield workdir


def write_config(workdir: Path, config: ConfigDict) -> None:
    """Writes config.json, whole or not at all."""
    with _usable(workdir):
        write_whole(workdir / "config.json", _json(config), durable=True)


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
        say(f"warning: {file.name} cannot be locked ({error.strerror}): start no second run here")
        return True


@contextmanager
def writing_to(workdir: Path) -> Iterator[None]:
    """A disk that is full is told in one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise UserError(
            f"{error.filename or workdir} cannot be written ({error.strerror}): make room and "
            "start again; the checkpoints are whole"
        ) from error


def check_in_place(workdir: Path) -> None:
    """Raises UserError where the workdir of a run that trains was moved or removed: what is saved
    from then on would be apart from the rest."""
    if not (workdir / "config.json").exists():
        raise UserError(
            f"{printable(str(workdir))} has no config.json any more, so it was moved or removed "
            "while the run trained: move it back, or give its new place as --workdir, and start "
            "again from the last checkpoint"
        )


def folder_of(path: str) -> Path:
    """The directory that --workdir names."""
    if not path:
        raise UserError("no --workdir: name the directory that this run is kept in")
    if "://" in path:
        raise UserError(
            f"--workdir {path} is no directory: mount the bucket, or take a disk that hosts share"
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
    """Leaves a word in the directory, by which other processes know it for the same."""
    word = uuid.uuid4().hex
    with _usable(workdir):
        write_whole(workdir / SIGN, word)
    return word


def take_part(path: str, config: ConfigDict, word: str, theirs: Mapping) -> Path:
    """The directory, for a process other than the first, which has opened and signed it by now.

    theirs: the config of process 0, as `as_json`. Raises UserError when this is not that directory,
    or not that config.
    """
    workdir = folder_of(path)
    file, until = workdir / SIGN, time.monotonic() + SIGN_SECONDS
    while not file.exists() or file.read_text(encoding="utf-8") != word:
        if time.monotonic() > until:
            raise UserError(
                f"--workdir {path} is another directory here than for process 0: choose one on a "
                "file system that all hosts share"
            )
        time.sleep(0.2)
    theirs, ours = flat(theirs), flat(as_json(config))
    may_differ = {field.name for field in fields() if field.per_process}
    for name in sorted(theirs | ours):
        if theirs.get(name) != ours.get(name) and name not in may_differ:
            raise UserError(
                f"config.{name} is {ours.get(name)} here and {theirs.get(name)} for process 0: "
                "start all processes with the same config"
            )
    return workdir


def load_config(workdir: Path) -> ConfigDict:
    """The config of the run in a directory. Raises UserError where there is none."""
    file = workdir / "config.json"
    try:
        return ConfigDict(with_old_fields(json.loads(file.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise UserError(f"{workdir} holds no config.json: it is not the workdir of a run") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): make it readable") from None
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{file} is damaged ({error}): delete it, if this is the workdir of the run, or "
            "choose another --workdir"
        ) from None


def as_json(config: ConfigDict) -> dict:
    """The config as JSON gives it back: lists for tuples."""
    return json.loads(_json(config))


def _json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2) + "\n"


def flat(tree: Mapping, prefix: str = "") -> dict:
    """Section.field -> value."""
    fields = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def changes(was: ConfigDict, config: ConfigDict, workdir: Path) -> list[str]:
    """A line for each field that is not as it `was`.

    Raises UserError for one that makes it another run.
    """
    old, new = flat(as_json(was)), flat(as_json(config))
    changed = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    for name in changed:
        if is_fixed(name):
            raise UserError(
                f"--workdir {workdir} holds another run: config.{name} is "
                f"{old.get(name)} there and {new.get(name)} here; choose another --workdir"
            )
    silent = {field.name for field in fields() if field.silent}
    return [
        f"config.{name} was {old.get(name)} and is {new.get(name)} from here on"
        for name in changed
        if name not in silent
    ]
