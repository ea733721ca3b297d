"""A tiny run that is evaluated while it trains, and an evaluation without a run."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.parallel.rules import state_shardings
from rats_jax.runs.events import Events
from rats_jax.runs.online.evaluation import EvaluationResult, open_evaluation
from rats_jax.runs.pretraining_programs import abstract_samples
from tests.runs.tiny import tiny_config
from tests.torch_reference.weights import randomised

SIDE, PATCH, IMAGES = 32, 8, 6


def evaluated(**fields) -> ConfigDict:
    """`fields` as of `tiny_config`."""
    config = tiny_config(
        run__log_every=2, run__checkpoint_every=4, run__keep_checkpoints=9, run__keep_best=1
    )
    config.run.update(best_metric="parts/m2o_2", best_is="highest")
    config.guards.collapse = "off"
    config.crops.local_crops = 0
    config.model.drop_path = 0.0
    config.optimizer.epochs = 2.0  # of 5 steps
    config.evaluation.update(
        every_epochs=0.6,
        parts="procedural_parts",
        images=IMAGES,
        resolution=SIDE,
        top_k=(2, 4),
        smoothing=0.7,
        knn_train="procedural_parts:20@7",
        knn_test="procedural_parts:9@8",
        knn_k=3,
    )
    for name, value in fields.items():
        section, field = name.split("__")
        config[section][field] = value
    return config


def measured(config: ConfigDict, events: Events, devices: int = 1) -> dict[str, float]:
    """By a teacher of noise, with a training batch of noise."""
    found = measuring(config, events, devices)(1).scalars
    return {name: x for name, x in found.items() if name != "evaluation/seconds"}


def measuring(
    config: ConfigDict, events: Events, devices: int = 1
) -> Callable[[int], EvaluationResult]:
    """What measures at a step, as in `measured`."""
    config.optimizer.batch_size = 8
    dino = make_dino(config, images=40)
    mesh = make_mesh(config, jax.devices()[:devices])
    evaluation = open_evaluation(config, dino, mesh)
    teacher = randomised(jax.eval_shape(lambda: dino.init(0))["teacher"], seed=1)
    teacher = jax.tree.map(_placed, teacher, state_shardings(mesh, teacher))
    evaluation.compile(teacher)
    rng = np.random.default_rng(0)
    samples = {
        name: _placed(rng.integers(0, 256, x.shape).astype(x.dtype), x.sharding)
        for name, x in abstract_samples(config, mesh).items()
    }
    return lambda step: evaluation.measure(step, teacher, samples, events=events, beat=lambda: None)


def _placed(x: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """Also where the devices are of several processes, all of which have x."""
    return jax.make_array_from_callback(x.shape, sharding, lambda part: np.asarray(x)[part])
