"""A run that has checkpoints, without training it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp

from rats_jax.assemble import make_dino
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.workdir import open_workdir
from tests.runs.tiny import tiny_config
from tests.torch_reference.weights import randomised


def make_run(workdir: Path, **fields) -> Path:
    """Checkpoints at steps 10 and 20 in which all weights differ, reports up to a later step.
    fields: as of `tiny_config`."""
    config = tiny_config(**fields)
    dino = make_dino(config, images=40)
    with open_workdir(str(workdir), config), Checkpoints(workdir, keep=2) as checkpoints:
        for step in (10, 20):
            state = dino.init(0)
            for i, name in enumerate(("student", "teacher")):
                state[name] = jax.tree.map(jnp.asarray, randomised(state[name], seed=step + i))
            state |= {"step": jnp.int32(step), "center": state["center"] + step}
            checkpoints.save(step, state, about={"config": config.to_dict()}, metrics={})
            checkpoints.finish()
    reports = [
        {"step": step, "epoch": step / 5, "loss": 3 - step / 100} for step in range(5, 35, 5)
    ]
    (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, reports)) + "\n{cut of")
    return workdir
