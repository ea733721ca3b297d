"""A K-means fit in progress, kept in a file, so that a killed fit resumes."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.files import replacing
from rats_jax.paths import printable


class Fit(NamedTuple):
    """centers: float32 [E, D]. objective: the sum of squared distances of vectors to their nearest
    center. sizes: int64 [E], how many vectors are nearest to each center. iterations: of Lloyd's
    algorithm. converged: whether it ended because the centers no longer moved."""

    centers: np.ndarray
    objective: float
    sizes: np.ndarray
    iterations: int
    converged: bool


class State(NamedTuple):
    """restart: the number of the start in progress. centers: float64 [E, D] after `iteration`
    iterations of it, None before it. converged: they no longer move. best: of earlier starts."""

    restart: int = 0
    centers: np.ndarray | None = None
    iteration: int = 0
    converged: bool = False
    best: Fit | None = None


def keep(file: Path, settings: Mapping[str, Any], state: State) -> None:
    """Writes the state. Raises UserError if the disk does not take it."""
    arrays = {"restart": state.restart, "iteration": state.iteration, "converged": state.converged}
    if state.centers is not None:
        arrays["centers"] = state.centers
    if state.best:
        arrays |= {f"best_{name}": x for name, x in state.best._asdict().items()}
    try:
        with replacing(file) as new, new.open("wb") as opened:
            np.savez(opened, settings=json.dumps(settings), **arrays)
    except OSError as error:
        raise UserError(
            f"{printable(str(file))} cannot be written ({error.strerror or error}): free some "
            "space, or make the folder writable; the same command then resumes"
        ) from error


def load(file: Path, settings: Mapping[str, Any]) -> State:
    """The state in a file, or a new one if there is no file. Raises UserError if the file is
    damaged or belongs to a fit of other vectors or settings."""
    named = printable(str(file))
    try:
        with np.load(file) as found:
            arrays = dict(found)
        written = json.loads(str(arrays.pop("settings")))
        best = {name: arrays.get(f"best_{name}") for name in Fit._fields}
        state = State(
            restart=int(arrays["restart"]),
            centers=arrays.get("centers"),
            iteration=int(arrays["iteration"]),
            converged=bool(arrays["converged"]),
            best=None if best["centers"] is None else _fit_of(best),
        )
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise UserError(f"{named} cannot be read ({error.strerror}): remove it") from None
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{named} is damaged: remove it, and the fit starts again") from None
    if written != settings:
        raise UserError(f"{named} is of another fit ({_differing(written, settings)}): remove it")
    return state


def _fit_of(arrays: Mapping[str, np.ndarray]) -> Fit:
    return Fit(
        centers=arrays["centers"],
        objective=float(arrays["objective"]),
        sizes=arrays["sizes"],
        iterations=int(arrays["iterations"]),
        converged=bool(arrays["converged"]),
    )


def _differing(written: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    names = [name for name in settings if written.get(name) != settings[name]]
    hashed = {"vectors", "start"}
    return ", ".join(
        f"other {name}" if name in hashed else f"{name} {written.get(name)}, now {settings[name]}"
        for name in names
    )
