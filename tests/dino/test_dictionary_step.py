"""Training steps with a learned dictionary: on meshes, in micro-batches, and what it may change."""

import jax
import numpy as np
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.parallel.mesh import batch_sharding
from rats_jax.runs.pretraining_programs import make_train_step
from rats_jax.runs.programs import abstract_state
from tests.runs.tiny import tiny_config

STEPS, BATCH = 3, 16


def train(mesh: tuple[int, int, int] = (1, 1, 1), **fields) -> tuple[dict, list[dict]]:
    """State and metrics after some steps from random parameters. fields: as of `tiny_config`."""
    config = tiny_config(model__heads=4, optimizer__batch_size=BATCH, **fields)
    config.mesh.update(dict(zip(("data", "fsdp", "tensor"), mesh, strict=True)))
    on = make_mesh(config, jax.devices()[: int(np.prod(mesh))])
    dino = make_dino(config, images=5 * BATCH)
    step = make_train_step(dino, config, on)
    shardings = jax.tree.map(lambda x: x.sharding, abstract_state(dino, 0, on))
    state, draw, history = jax.tree.map(np.asarray, dino.init(0)), np.random.default_rng(1), []
    # From random biases and norms: Adam turns the rounding of gradients that are 0 into steps.
    for part in ("backbone", "head"):
        state["student"][part] = jax.tree.map(
            lambda x: x + np.float32(0.05) * draw.standard_normal(x.shape, np.float32),
            state["student"][part],
        )
    state["teacher"] = state["student"]
    state = jax.device_put(state, shardings)
    for _ in range(STEPS):
        samples = {
            "global": draw.integers(0, 256, (BATCH, 2, 16, 16, 3), np.uint8),
            "local": draw.integers(0, 256, (BATCH, 2, 8, 8, 3), np.uint8),
            "flips": draw.random((BATCH, 4)) < 0.5,
        }
        state, metrics = step(state, jax.device_put(samples, batch_sharding(on)))
        history.append(jax.device_get(metrics))
    return jax.device_get(state), history


def assert_close(a: dict, b: dict) -> None:
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True
    ):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("qkv/bias"):  # that of the keys adds the same to every logit: no gradient
            x, y = x[:, ::2], y[:, ::2]
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5 * np.abs(y).max(), err_msg=name)


DICTIONARY = {
    "dictionary__entries": 16,
    "dictionary__weight": 3.0,
    "dictionary__diversity": 2.0,
    "dictionary__temperature": 0.1,
}


@pytest.fixture(scope="module")
def alone():
    return train(**DICTIONARY)


@pytest.mark.parametrize(
    ("mesh", "accumulation"),
    [((1, 2, 2), 2), pytest.param((4, 1, 1), 1, marks=pytest.mark.slow)],
)
def test_no_mesh_and_no_number_of_micro_batches_changes_the_result(alone, mesh, accumulation):
    state, history = train(mesh, optimizer__accumulation=accumulation, **DICTIONARY)
    for name in history[0]:
        np.testing.assert_allclose(
            [m[name] for m in history], [m[name] for m in alone[1]], rtol=1e-4, err_msg=name
        )
    for name in ("student", "teacher", "optimizer", "center"):
        assert_close(state[name], alone[0][name])


def test_without_weights_it_changes_nothing_else(alone):
    """Backbone and head start at the same numbers, and neither loss nor gradients differ."""
    plain, history = train()
    off = train(**DICTIONARY | {"dictionary__weight": 0.0, "dictionary__diversity": 0.0})
    assert "dictionary" not in plain["student"] and "dictionary_loss" not in history[0]
    for name in history[0]:
        np.testing.assert_allclose(
            [m[name] for m in history], [m[name] for m in off[1]], rtol=1e-5, err_msg=name
        )
    for part in ("backbone", "head"):
        assert_close(off[0]["student"][part], plain["student"][part])
    # Without a gradient, entries do not move: they have no weight decay.
    start = make_dino(tiny_config(model__heads=4, **DICTIONARY), images=80).init(0)["student"]
    entries = off[0]["student"]["dictionary"]["entries"]
    np.testing.assert_array_equal(entries, start["dictionary"]["entries"])
    moved = alone[0]["student"]["dictionary"]["entries"] - entries
    assert np.abs(moved).max() > 1e-4
    assert np.abs(alone[0]["teacher"]["dictionary"]["entries"] - entries).max() > 0
    losses = [[m["gradient_norm"] for m in of[1]] for of in (alone, off)]
    assert (np.abs(np.subtract(*losses)) > 1e-3).all()
