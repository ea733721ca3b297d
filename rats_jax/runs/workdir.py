"""The directory of a run, and what makes two starts the same run.

config.json       every field, as last started
checkpoints/      orbax, one directory a step
damaged/          checkpoints that could not be restored
metrics.jsonl     one line a report
tensorboard/      the same as events
dynamics.png      the curves of the evaluations, if there are any
events.jsonl      starts, alarms and what else happened
unreadable.txt    images that could not be read, if any
stacks.txt        where a run hung, if it did
.lock             keeps a second run out
.started          by which several processes know the directory for the same
"""

import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from ml_collections import ConfigDict

from rats_jax.command_line import say
from rats_jax.errors import UserError

#: Fields that fix the shape of the state: a checkpoint made with others cannot be restored.
SHAPES = ("model", "head", "crops.global_size", "dino.loss_scope")
#: The checkpoint holds the key made of the seed: another seed would reach the data alone.
FIXED = (*SHAPES, "seed")
#: Of these, what changes no shape.
FREE = ("model.drop_path", "model.position_offset", "model.remat", "model.unroll")
#: Fields that processes of one run may have of their own.
OF_A_HOST = ("data.path", "data.workers", "data.threads", "run.compilation_cache")
SIGN = ".started"
LAST_BREATH = 5  # seconds that a run before this one may take to end
PATIENCE = 10  # seconds, until a network's file system shows what another host has written


@contextmanager
def open_workdir(path: str, config: ConfigDict) -> Iterator[Path]:
    """Creates the directory or takes up the run in it, writes config.json, and keeps other runs out
    until the block ends.

    Raises UserError when it cannot be written to, when a run is at work in it, or when it holds a
    run of another model. Other fields that differ are named, and the new ones hold from here on.
    """
    workdir = folder_of(path)
    with ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            if not os.access(workdir, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "no permission to write")
            stack.enter_context(_locked(workdir))
            file = workdir / "config.json"
            if file.exists():
                _compare(_flat(_stored(file)), _flat(json.loads(_json(config))), workdir)
            new = file.with_suffix(".new")
            with new.open("w") as written:
                written.write(_json(config))
                written.flush()
                os.fsync(written.fileno())
            new.replace(file)
        except OSError as error:
            raise UserError(
                f"--workdir {path} cannot be used ({error.strerror or error}); choose a directory "
                "that you may write to"
            ) from error
        except ValueError as error:
            raise UserError(
                f"{file} is damaged ({error}): delete it, if this is the config of the run, or "
                "choose another --workdir"
            ) from None
        yield workdir


@contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    with (workdir / ".lock").open("a+") as file:
        until = time.monotonic() + LAST_BREATH
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
    """The kernel gives the lock back when the process ends, however it ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # as on some network file systems
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


def folder_of(path: str) -> Path:
    """The directory that --workdir names."""
    if not path:
        raise UserError("no --workdir: name the directory that this run is kept in")
    if "://" in path:
        raise UserError(
            f"--workdir {path} is no directory: mount the bucket, or take a disk that hosts share"
        )
    return Path(path).expanduser()


def sign(workdir: Path) -> str:
    """Leaves a word in the directory, by which other processes know it for the same."""
    word = uuid.uuid4().hex
    new = workdir / f"{SIGN}.new"
    new.write_text(word)
    new.replace(workdir / SIGN)
    return word


def take_part(path: str, config: ConfigDict, word: str) -> Path:
    """The directory, for a process other than the first, which has opened and signed it by now.

    Raises UserError when this is not that directory, or not that config.
    """
    workdir = folder_of(path)
    file, until = workdir / SIGN, time.monotonic() + PATIENCE
    while not file.exists() or file.read_text() != word:
        if time.monotonic() > until:
            raise UserError(
                f"--workdir {path} is another directory here than for process 0: choose one on a "
                "file system that all hosts share"
            )
        time.sleep(0.2)
    theirs = _flat(json.loads((workdir / "config.json").read_text()))
    ours = _flat(json.loads(_json(config)))
    for name in sorted(theirs | ours):
        if theirs.get(name) != ours.get(name) and name not in OF_A_HOST:
            raise UserError(
                f"config.{name} is {ours.get(name)} here and {theirs.get(name)} for process 0: "
                "start all processes with the same config"
            )
    return workdir


def load_config(workdir: Path) -> ConfigDict:
    """The config of the run in a directory."""
    try:
        return ConfigDict(_stored(workdir / "config.json"))
    except FileNotFoundError:
        raise UserError(f"{workdir} holds no config.json: it is not the workdir of a run") from None


def _stored(file: Path) -> dict:
    """A config.json."""
    return with_old_fields(json.loads(file.read_text()))


def with_old_fields(config: dict) -> dict:
    """A field that the run is older than is what it was without the field."""
    config.get("model", {}).setdefault("register_std", 0.02)
    return config


def _json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=2) + "\n"


def _flat(tree: dict, prefix: str = "") -> dict:
    fields = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            fields |= _flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def _compare(old: dict, new: dict, workdir: Path) -> None:
    changed = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    for name in changed:
        fixed = any(name == s or name.startswith(s + ".") for s in FIXED)
        if fixed and name not in FREE:
            raise UserError(
                f"--workdir {workdir} holds another run: config.{name} is "
                f"{old.get(name)} there and {new.get(name)} here; choose another --workdir"
            )
    for name in changed:
        say(f"config.{name} was {old.get(name)}, goes on as {new.get(name)}")
