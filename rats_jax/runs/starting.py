"""How a run begins: several processes at one workdir, and the state to go on from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.command_line import say
from rats_jax.dino.step import DINO
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import agree
from rats_jax.runs.checkpoint import Checkpoints
from rats_jax.runs.events import Events
from rats_jax.runs.programs import abstract_state
from rats_jax.runs.version import code_version
from rats_jax.runs.workdir import open_workdir, sign, take_part


def start_state(
    config: ConfigDict,
    dino: DINO,
    mesh: Mesh,
    checkpoints: Checkpoints,
    events: Events,
    *,
    evaluation: Mapping[str, Mapping],
) -> tuple[dict, int]:
    """State and the number of steps it has taken: the newest checkpoint, or a fresh one.

    evaluation: what evaluations measure, as `OnlineEvaluation.about`.
    """
    like, code = abstract_state(dino, config.seed, mesh), code_version()
    found = checkpoints.restore(like)
    if found is None:
        events.add("started", step=0, code=code)
        shardings = jax.tree.map(lambda x: x.sharding, like)
        return jax.jit(dino.init, static_argnums=0, out_shardings=shardings)(config.seed), 0
    say(f"going on from the checkpoint at step {found.step}")
    before = found.about["code"]
    if before != code:
        say(f"warning: it was written by rats_jax {before}, this is {code}")
    for name, on in evaluation.items():
        was = found.about.get("evaluation", {}).get(name, on)
        changed = [f"{key} {was.get(key)}, now {on[key]}" for key in on if was.get(key) != on[key]]
        if changed:
            say(
                f"warning: the evaluation of {name} had {'; '.join(changed)}: its figures do not "
                "compare with those from before, and no checkpoint from before is the best by them"
            )
    for step, reason in found.damaged:
        events.add("damaged", step=step, reason=reason)
    events.add("continued", step=found.step, code=code)
    return found.state, found.step


@contextmanager
def open_together(path: str, config: ConfigDict, *, images: int) -> Iterator[Path]:
    """The workdir, opened by process 0; the others see that it is theirs, too."""
    if jax.process_index() == 0:
        with open_workdir(path, config) as folder:
            agree({"sign": sign(folder), "images": images})
            yield folder
        return
    told = agree()
    if told["images"] != images:
        raise UserError(
            f"config.data has {images:,} images here and {told['images']:,} for process 0: give "
            "all processes the same"
        )
    yield take_part(path, config, told["sign"])
