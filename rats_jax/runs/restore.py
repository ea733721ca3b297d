"""Restores a trained backbone from the workdir of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rats_jax.assemble import make_model
from rats_jax.config.old_runs import with_old_fields
from rats_jax.config_kinds import FINETUNE, TRAIN, command_of
from rats_jax.dino.network import Network
from rats_jax.errors import UserError
from rats_jax.paths import check_utf8, local_path
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.checkpoints.stored_state import (
    DamagedCheckpoint,
    compare,
    read_arrays,
    read_meta,
    verify,
)
from rats_jax.runs.find import find_run, not_a_run
from rats_jax.runs.workdir import load_config


class Restored(NamedTuple):
    """network.features(params, images) computes the features; the backbone in params is enough.
    best: the metric by which this step is the best, and its value; None for another step."""

    network: Network
    params: dict
    config: ConfigDict
    step: int
    best: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return _line(self, "params")


class Parts(NamedTuple):
    """state: the requested parts by name. best: as in `Restored`."""

    network: Network
    state: dict
    config: ConfigDict
    step: int
    best: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return _line(self, "state")


def restore(
    workdir: str | os.PathLike,
    *,
    weights: str = "teacher",
    step: int | None = None,
    best: bool = False,
    flag: str = "--weights",
) -> Restored:
    """The teacher (or "student") of the newest undamaged checkpoint, or of the one at `step`, on
    the first device. A run may train in the workdir meanwhile.

    workdir: the run's, or a path in it, see `find_run`; also a checkpoint copied out of it.
    best: use the best undamaged checkpoint by `config.run.best_metric`, if the run keeps one.
    flag: the flag that `weights` is given by, for messages.

    Raises:
      UserError: the run, the checkpoint or the weights do not exist or are damaged.
    """
    if weights not in ("teacher", "student"):
        raise UserError(
            f"a run has no weights {weights!r}: choose {flag}=teacher or {flag}=student"
        )
    parts = restore_parts(workdir, [weights], step=step, best=best)
    return Restored(parts.network, parts.state[weights], parts.config, parts.step, parts.best)


def restore_parts(
    workdir: str | os.PathLike,
    names: Sequence[str],
    *,
    step: int | None = None,
    best: bool = False,
) -> Parts:
    """As `restore`, for any of "student", "teacher" ({"backbone", "head"}) and "center"."""
    path = local_path(workdir)
    if (place := find_run(path)) is None:
        raise UserError(
            not_a_run(path) or f"{path} is not the workdir of a run: it has no config.json of one"
        )
    _check_name(Path(os.path.realpath(place.folder)))  # reading follows links
    if place.workdir is None:
        found = _copied(place.folder, names)
        _check_step(path, found.step, wanted=step)
        return found
    _check_step(path, place.step, wanted=step)
    config = load_config(place.workdir)
    _check_command(config, place.workdir)
    network, like = _abstract(config, names)
    step = place.step if step is None else step
    run = config.run
    by_metric = best and step is None and run.get("keep_best", 0) > 0
    settings = {"best_metric": run.best_metric, "best_is": run.best_is} if by_metric else {}
    with Checkpoints(place.workdir, read_only=True, **settings) as checkpoints:
        if step is not None:
            found = checkpoints.restore_step(step, like)
        elif by_metric:
            found = checkpoints.restore_best(like)
        else:
            found = checkpoints.restore_part(like)
    if found is None:
        raise UserError(
            f"{place.workdir} contains no checkpoint yet: wait until the run has saved one"
        )
    best_of = None
    if by_metric and found.value is not None:
        best_of = run.best_metric, found.value
    return Parts(network, found.state, config, found.step, best_of)


def _check_command(config: ConfigDict, path: Path) -> None:
    """Raises UserError for a run of fine-tuning, which has no teacher and no head of DINO."""
    if (command := command_of(config)) != TRAIN:
        raise UserError(
            f"{path} is of a run of rats {command}, and this needs a run of rats {TRAIN}: give "
            "one, such as the run whose weights were fine-tuned"
        )


def _check_step(path: Path, named: int | None, *, wanted: int | None) -> None:
    """Raises UserError if the path names a checkpoint of a step other than the wanted one."""
    if None not in (named, wanted) and named != wanted:
        raise UserError(
            f"{path} is the checkpoint at step {named}, but step {wanted} was requested: give the "
            "run's workdir, or omit the step"
        )


def _check_name(folder: Path) -> None:
    """Raises UserError for a directory whose name tensorstore cannot open or misreads."""
    check_utf8(folder, "the run's directory")
    if "\\" in str(folder):
        raise UserError(
            f"the run's directory {folder} contains a backslash, which is read as a slash: rename "
            "it, or choose another path"
        )


def _copied(folder: Path, names: Sequence[str]) -> Parts:
    """Parts of a checkpoint outside its run, which contains its own copy of the config."""
    try:
        meta = read_meta(folder)
        config = meta["about"].get("config")
        if config is None:
            raise UserError(
                f"{folder} does not record its run: put it back into WORKDIR/checkpoints and give "
                "the workdir"
            )
        config = ConfigDict(with_old_fields(config))
        if command_of(config) == FINETUNE:
            raise UserError(
                f"{folder} is a checkpoint of a run of rats finetune, which is read in its run "
                "only: put it back into WORKDIR/checkpoints, and give the workdir"
            )
        network, like = _abstract(config, [*names, "step"])
        compare(meta, like, folder, whole=False)
        state = read_arrays(folder, like)
        verify(meta, state)
    except DamagedCheckpoint as reason:
        raise UserError(
            f"the checkpoint {folder} is damaged ({reason}): give another checkpoint, or the "
            "run's workdir"
        ) from None
    step = int(state.pop("step"))
    return Parts(network, state, config, step)


def _abstract(config: ConfigDict, names: Sequence[str]) -> tuple[Network, dict]:
    """The network, and the named parts of the run's state as shapes and dtypes."""
    network, init = make_model(config)
    params = jax.eval_shape(init, jax.random.key(0))
    center = jax.ShapeDtypeStruct((network.losses, config.head.prototypes), jnp.float32)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    state = {"student": params, "teacher": params, "center": center, "step": step}
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return network, jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        {name: state[name] for name in names},
    )


def _line(found: Restored | Parts, arrays: str) -> str:
    """One line for a notebook, instead of thousands of lines of parameters."""
    model, tree = found.config.model, getattr(found, arrays)
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    best = f", the best of {found.best[0]}" if found.best else ""
    return (
        f"{type(found).__name__}({model.architecture} at step {found.step:,}{best}: "
        f"{', '.join(tree)}, {count:,} numbers)"
    )


def untrained(config: ConfigDict) -> Restored:
    """The model of a run with the random weights of the run's seed, the default initial weights."""
    network, init = make_model(config)
    return Restored(network, jax.jit(init)(jax.random.key(config.seed)), config, 0)
