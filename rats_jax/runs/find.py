"""Finds the run or checkpoint that a path at any level of a run's directory refers to."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from rats_jax.errors import UserError
from rats_jax.runs.checkpoints.checkpoint import REMAINS
from rats_jax.weights.places import read_json

#: The other files in the workdir of a run.
KEPT = re.compile(r"config\.json|[\w.]+\.jsonl|dynamics\.png|\w+\.txt|\.lock|\.started|tensorboard")
MOST_LISTED = 3


class Place(NamedTuple):
    """workdir: of the run; None for a checkpoint that was copied out of it. step: the step of the
    checkpoint; None for the run's best or newest. folder: of the step, or the workdir."""

    workdir: Path | None
    step: int | None
    folder: Path


def find_run(path: Path) -> Place | None:
    """The run or checkpoint that a path refers to; None if the path has nothing to do with a run.

    path: the workdir, its checkpoints/, a step in it or anything below that; links are followed. A
    copy of a step is a checkpoint too.

    Raises:
      UserError: the path is in a run but refers to no checkpoint; the message says what to name.
    """
    # The meaning of ".." depends on links, and tensorstore does not accept it.
    given = _real(path) if ".." in path.parts else path
    if is_workdir(given):
        return Place(given, None, given)
    for place in dict.fromkeys((given.absolute(), _real(path))):
        for parent in (place, *place.parents):
            if parent.name in ("checkpoints", "damaged") and _is_workdir(parent.parent):
                return _inside(parent, place.relative_to(parent).parts, path)
    place = _real(path)
    for folder in (place, *place.parents[:2]):
        if _is_step(folder):
            return Place(None, None, folder)
    if _is_workdir(place.parent) and KEPT.fullmatch(place.name):
        raise UserError(f"{path} is only a part of a run: give the run's workdir, {place.parent}")
    return None


def is_workdir(folder: Path) -> bool:
    """Whether this is the workdir of a run, even one without a checkpoint.

    Raises UserError for a damaged config.json.
    """
    config = folder / "config.json"
    return config.is_file() and {"model", "optimizer"} <= read_json(config).keys()


def not_a_run(folder: Path) -> str | None:
    """A message on what to name instead of a folder that contains runs, or checkpoints without
    their config.json; None if it contains neither."""
    runs = [entry for entry in _below(folder) if _is_workdir(entry)]
    steps = [entry for entry in _below(folder) + _below(folder / "checkpoints") if _is_step(entry)]
    if not runs and not steps:
        return _part_of_a_step(folder)
    listed = ", ".join(map(str, (runs or steps)[:MOST_LISTED]))
    listed += ", ..." if len(runs or steps) > MOST_LISTED else ""
    if runs:
        return (
            f"{folder} is not the workdir of a run, but contains such workdirs: give one of "
            f"{listed}"
        )
    return f"{folder} has no config.json of a run, but contains checkpoints: give one of {listed}"


def _part_of_a_step(folder: Path) -> str | None:
    """A message if only state/ of a checkpoint was copied; None otherwise."""
    for step in (folder, folder.parent):
        state = step / "state"
        if (state / "manifest.ocdbt").is_file() and not (step / "meta").exists():
            return f"{folder} is only a part of a checkpoint: also copy its meta/ to {step}"
    return None


def _below(folder: Path) -> list[Path]:
    """The entries of a folder, with numbers in numerical order."""
    if not folder.is_dir():
        return []
    return sorted(
        folder.iterdir(), key=lambda e: (int(e.name) if e.name.isdecimal() else 0, e.name)
    )


def _inside(parent: Path, parts: tuple[str, ...], path: Path) -> Place | None:
    """The place that a path in checkpoints/ or damaged/ of a run refers to."""
    workdir = parent.parent
    if not parts:
        if parent.name == "checkpoints":
            return Place(workdir, None, workdir)
        raise UserError(
            f"{path} is the folder for damaged checkpoints of a run: give the run's workdir, "
            f"{workdir}"
        )
    step, *inside = parts
    if REMAINS.fullmatch(step):
        raise UserError(f"{path} was not saved completely: give the run's workdir, {workdir}")
    if not step.isdecimal() or str(int(step)) != step or (inside and not path.exists()):
        if path.exists():
            return None
        raise UserError(
            f"{path} does not exist: give the run's workdir, {workdir}, or one of its "
            f"checkpoints, such as {parent / 'STEP'}"
        )
    if parent.name == "damaged":
        return Place(None, None, parent / step)
    return Place(workdir, int(step), parent / step)


def _is_step(folder: Path) -> bool:
    """Whether a folder is a checkpoint, wherever it is."""
    return (folder / "state").is_dir() and (folder / "meta").is_dir()


def _real(path: Path) -> Path:
    """The path with all links followed."""
    return Path(os.path.realpath(path))


def _is_workdir(folder: Path) -> bool:
    """As `is_workdir`, but False if config.json cannot be read."""
    try:
        return is_workdir(folder)
    except (OSError, UserError):
        return False
