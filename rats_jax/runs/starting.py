"""The start of a run: all processes open one workdir and obtain the initial state."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
from ml_collections import ConfigDict

from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree
from rats_jax.runs.opened import OpenRun
from rats_jax.runs.programs import abstract_state
from rats_jax.runs.resuming import compare_with
from rats_jax.runs.version import code_version
from rats_jax.runs.workdir import as_json, open_workdir, sign, take_part, write_config
from rats_jax.voice import say


def start_state(run: OpenRun) -> tuple[dict, int]:
    """The state and the number of steps it has taken: the newest checkpoint, or a new state.

    Reports what differs from the checkpoint; raises UserError for what must not change. Then writes
    config.json.
    """
    config, events, initial = run.config, run.events, run.initial
    like, code = abstract_state(run.method, config.seed, run.mesh), code_version()
    found = run.checkpoints.restore(like)
    if found is not None:
        say(f"resuming from the checkpoint at step {found.step}")
        compare_with(found, run)
    if jax.process_index() == 0:
        write_config(run.folder, config, automatic=run.automatic)
    if found is None:
        given = {"weights": initial.fingerprint, "report": initial.lines} if initial else {}
        events.add("started", step=0, code=code, **given)
        shardings = jax.tree.map(lambda x: x.sharding, like)
        state = jax.jit(run.method.init, static_argnums=0, out_shardings=shardings)(config.seed)
        for line in initial.lines if initial else ():
            say(line)
        return (initial.into(state) if initial else state), 0
    for step, reason in found.damaged:
        events.add("damaged", step=step, reason=reason)
    events.add("continued", step=found.step, code=code)
    return found.state, found.step


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
            f"config.data has {data['images']:,} images here and {there['images']:,} in process "
            "0: give all processes the same"
        )
    if there != data:
        what = "other images" if there["order"] == data["order"] else "another order of images"
        raise UserError(
            f"config.data has {what} here than in process 0, though as many: give all processes "
            "the same images, and the same versions of grain and NumPy"
        )
    yield take_part(path, config, theirs["sign"], theirs["config"])
