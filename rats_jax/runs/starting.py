"""The start of a run: all processes open one workdir and obtain the initial state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.data.fingerprint import fingerprint_of_arrays
from rats_jax.dino.step import DINO
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.events import Events
from rats_jax.runs.programs import abstract_state
from rats_jax.runs.resuming import compare_with
from rats_jax.runs.version import code_version
from rats_jax.runs.workdir import as_json, open_workdir, sign, take_part, write_config
from rats_jax.voice import say


def start_state(
    config: ConfigDict,
    dino: DINO,
    mesh: Mesh,
    checkpoints: Checkpoints,
    events: Events,
    workdir: Path,
    *,
    data: Mapping,
    evaluation: Mapping[str, Mapping],
    weights: Mapping | None = None,
    automatic: Mapping[str, str] | None = None,
) -> tuple[dict, int]:
    """The state and the number of steps it has taken: the newest checkpoint, or a new state.

    data: as `same_data.data_facts`. evaluation: what evaluations measure, as
    `OnlineEvaluation.about`. weights: parts of a new state, as `checked` returns them. automatic:
    as for `workdir.open_workdir`. Reports what differs from the checkpoint; raises UserError for
    what must not change. Then writes config.json.
    """
    like, code = abstract_state(dino, config.seed, mesh), code_version()
    found = checkpoints.restore(like)
    if found is not None:
        say(f"resuming from the checkpoint at step {found.step}")
        compare_with(
            found,
            config,
            dino.schedules,
            checkpoints,
            events,
            workdir,
            data=data,
            evaluation=evaluation,
        )
    if jax.process_index() == 0:
        write_config(workdir, config, automatic=automatic)
    if found is None:
        given = {"weights": fingerprint_of_arrays(jax.tree.leaves(weights))} if weights else {}
        events.add("started", step=0, code=code, **given)
        shardings = jax.tree.map(lambda x: x.sharding, like)
        state = jax.jit(dino.init, static_argnums=0, out_shardings=shardings)(config.seed)
        # Copies, since the first step donates its state.
        given = {
            name: jax.tree.map(
                lambda x, y: jax.device_put(jnp.array(x), y.sharding), of, state[name]
            )
            for name, of in (weights or {}).items()
        }
        return state | given, 0
    for step, reason in found.damaged:
        events.add("damaged", step=step, reason=reason)
    events.add("continued", step=found.step, code=code)
    return found.state, found.step


def checked(weights: Mapping, dino: DINO, *, seed: int) -> dict:
    """Turns initial weights into parts of a state: student, teacher and, if given, center; float32.

    weights: {"backbone", "head"} with an optional "center", nested mappings of arrays.

    Raises:
      UserError: the weights do not fit this model, or are not finite.
    """
    if not isinstance(weights, Mapping) or set(weights) - {"center"} != {"backbone", "head"}:
        raise UserError(
            'the weights to start from must be {"backbone": ..., "head": ...}, with "center" if '
            "it is known"
        )
    parts = {name: weights[name] for name in ("backbone", "head")}
    given = {"student": parts, "teacher": parts}
    given |= {name: weights[name] for name in ("center",) if name in weights}
    whole = jax.eval_shape(dino.init, seed)
    like = {name: whole[name] for name in given}
    if jax.tree.structure(given) != jax.tree.structure(like):
        raise UserError("the weights to start from are of another architecture than config.model")
    pairs = (jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (given, like))
    for (path, x), (_, y) in zip(*pairs, strict=True):
        name = jax.tree_util.keystr(path[1:] or path, simple=True, separator=".")
        if np.shape(x) != y.shape:
            raise UserError(
                f"the weights to start from are of another size than config.model and config.head: "
                f"{name} is {np.shape(x)} there and {y.shape} here"
            )
        if not np.isfinite(np.asarray(x, np.float32)).all():
            raise UserError(f"the weights to start from are not finite in {name}")
    return jax.tree.map(lambda x, y: np.asarray(x, y.dtype), given, like)


@contextmanager
def open_together(
    path: str,
    config: ConfigDict,
    *,
    data: Mapping,
    automatic: Mapping[str, str] | None = None,
) -> Iterator[Path]:
    """The workdir, opened by process 0; the others check that they have the same one.

    data: as `same_data.data_facts`; it must be the same in all processes. automatic: as for
    `workdir.open_workdir`.
    """
    if jax.process_index() == 0:
        with open_workdir(path, config, automatic=automatic) as folder:
            agree({"sign": sign(folder), "data": data, "config": as_json(config)})
            yield folder
        return
    theirs = agree()
    there = theirs["data"]
    if there["images"] != data["images"]:
        raise UserError(
            f"config.data has {data['images']:,} images here and {there['images']:,} for process "
            "0: give all processes the same"
        )
    if there != data:
        what = "other images" if there["order"] == data["order"] else "another order of images"
        raise UserError(
            f"config.data has {what} here than for process 0, though as many: give all processes "
            "the same images, and the same versions of grain and NumPy"
        )
    yield take_part(path, config, theirs["sign"], theirs["config"])
