"""The directory of a run, and what makes two starts the same run.

config.json       every field, as last started
.started          by which several processes know the directory for the same
checkpoints/      orbax, one directory a step
metrics.jsonl     one line a report
tensorboard/      the same as events
unreadable.txt    images that could not be read, if any
"""

import json
import os
import time
import uuid
from pathlib import Path

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
PATIENCE = 10  # seconds, until a network's file system shows what another host has written


def open_workdir(path: str, config: ConfigDict) -> Path:
    """Creates the directory or takes up the run in it, and writes config.json.

    Raises UserError when it cannot be written to or holds a run of another model. Other fields that
    differ are named, and the new ones hold from here on.
    """
    workdir = folder_of(path)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write")
        file = workdir / "config.json"
        if file.exists():
            _compare(_flat(json.loads(file.read_text())), _flat(json.loads(_json(config))), workdir)
        new = file.with_suffix(".new")
        new.write_text(_json(config))
        new.replace(file)
    except OSError as error:
        raise UserError(
            f"--workdir {path} cannot be used ({error.strerror or error}); choose a directory "
            "that you may write to"
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{file} is damaged ({error}); restore it or choose another --workdir"
        ) from None
    return workdir


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
        return ConfigDict(json.loads((workdir / "config.json").read_text()))
    except FileNotFoundError:
        raise UserError(f"{workdir} holds no config.json: it is not the workdir of a run") from None


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
