"""The step as a whole: loss scopes, devices, precision, what may not move."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rats_jax.dino.loss import dino_loss
from rats_jax.dino.network import make_network
from rats_jax.dino.schedules import Schedules
from rats_jax.dino.step import DINO
from rats_jax.models import RATS, DINOHead
from rats_jax.parallel.mesh import batch_sharding, make_mesh, replicated

SCHEDULES = Schedules(
    steps=20,
    steps_per_epoch=4,
    peak_learning_rate=1e-2,
    end_learning_rate=1e-4,
    warmup_steps=2,
    weight_decay_start=0.04,
    weight_decay_end=0.4,
    momentum_start=0.9,
    momentum_end=1.0,
    temperature_start=0.04,
    temperature_end=0.07,
    temperature_warmup_epochs=2,
    freeze_last_layer_steps=2,
)


def make_dino(*, dtype=jnp.float32, loss_scope="all", drop_path=0.1) -> DINO:
    network, init = make_network(
        lambda rngs: RATS(
            width=24,
            depth=2,
            heads=3,
            registers_per_head=2,
            patch=8,
            image_size=32,
            drop_path=drop_path,
            dtype=dtype,
            rngs=rngs,
        ),
        lambda rngs: DINOHead(
            width=24, hidden=16, bottleneck=8, prototypes=32, dtype=dtype, rngs=rngs
        ),
        heads=3,
        loss_scope=loss_scope,
    )
    return DINO(
        network=network,
        init_network=init,
        schedules=SCHEDULES,
        clip=0.3,
        student_temperature=0.1,
        center_momentum=0.9,
    )


def make_crops(local: int = 3) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(5))
    return {
        "global": jax.random.normal(keys[0], (8, 2, 32, 32, 3)),
        "local": jax.random.normal(keys[1], (8, local, 16, 16, 3)),
    }


def run(dino: DINO, crops: dict, *, steps: int = 4, mesh=None) -> tuple[dict, list[dict]]:
    init, step = jax.jit(dino.init, static_argnums=0), jax.jit(dino.step)
    if mesh is not None:
        init = jax.jit(dino.init, static_argnums=0, out_shardings=replicated(mesh))
        step = jax.jit(dino.step, out_shardings=replicated(mesh))
        crops = jax.device_put(crops, batch_sharding(mesh))
    state, history = init(0), []
    for _ in range(steps):
        state, metrics = step(state, crops)
        history.append(jax.device_get(metrics))
    return state, history


def test_four_devices_compute_what_one_does():
    dino, crops = make_dino(), make_crops()
    alone, losses = run(dino, crops)
    mesh = make_mesh()
    assert mesh.size == 4
    together, other_losses = run(dino, crops, mesh=mesh)
    for a, b in zip(losses, other_losses, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    for name in ("center", "teacher"):
        for a, b in zip(jax.tree.leaves(alone[name]), jax.tree.leaves(together[name]), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_state_is_float32_when_the_computation_is_bf16():
    dino = make_dino(dtype=jnp.bfloat16)
    state, history = run(dino, make_crops())
    floating = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert floating and all(x.dtype == jnp.float32 for x in floating)
    _, exact = run(make_dino(), make_crops())
    # The first step, where parameters are the same.
    assert history[0]["loss"] == pytest.approx(exact[0]["loss"], rel=0.02)
    assert history[0]["loss"] != exact[0]["loss"]


def test_one_loss_per_head_is_the_mean_of_the_losses_on_each_heads_registers():
    dino, crops = make_dino(loss_scope="head", drop_path=0.0), make_crops()
    state = jax.jit(dino.init, static_argnums=0)(0)
    assert state["center"].shape == (3, 32)
    _, metrics = jax.jit(dino.step)(state, crops)

    backbone = nnx.merge(dino.network.backbone, state["student"]["backbone"])
    head = nnx.merge(dino.network.head, state["student"]["head"])

    def logits(images, h):  # [B, V, ...] -> [B, V, 1, K] of head h
        flat = backbone(images.reshape(-1, *images.shape[2:])).registers
        vectors = flat[:, 2 * h : 2 * h + 2].mean(1)
        return head(vectors).reshape(*images.shape[:2], 1, 32)

    losses = []
    for h in range(3):
        student = jnp.concatenate([logits(crops["global"], h), logits(crops["local"], h)], axis=1)
        teacher = logits(crops["global"], h)
        losses.append(
            dino_loss(
                student,
                teacher,
                jnp.zeros((1, 32)),
                student_temperature=0.1,
                teacher_temperature=jnp.float32(0.04),
            ).loss
        )
    assert float(np.std(losses)) > 0
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)


def test_a_step_depends_on_seed_and_step_and_nothing_else():
    dino, crops = make_dino(drop_path=0.5), make_crops()
    first, a = run(dino, crops)
    second, b = run(dino, crops)
    assert [m["loss"] for m in a] == [m["loss"] for m in b]
    jax.tree.map(np.testing.assert_array_equal, first, second)
    step = jax.jit(dino.step)
    elsewhere = first | {"rng": jax.random.key_data(jax.random.key(1))}
    assert step(first, crops)[1]["loss"] != step(elsewhere, crops)[1]["loss"]


def test_training_without_local_crops():
    crops = make_crops(local=0)
    _, history = run(make_dino(), crops)
    assert np.isfinite([m["loss"] for m in history]).all()


def test_the_teacher_moves_and_learns_from_no_gradient():
    dino, crops = make_dino(drop_path=0.0), make_crops()
    state = jax.jit(dino.init, static_argnums=0)(0)
    first = jax.jit(dino.step)(state, crops)[0]
    # Step 0 has learning rate 0: the student stands still, and so does the teacher.
    np.testing.assert_allclose(
        first["teacher"]["backbone"]["registers"], state["teacher"]["backbone"]["registers"]
    )
    second = jax.jit(dino.step)(first, crops)[0]
    rate = float(SCHEDULES.teacher_rate(jnp.int32(1)))
    old, student = first["teacher"]["head"]["fc1"], second["student"]["head"]["fc1"]
    expected = old["kernel"] + rate * (student["kernel"] - old["kernel"])
    np.testing.assert_allclose(second["teacher"]["head"]["fc1"]["kernel"], expected, atol=1e-8)
    assert np.abs(student["kernel"] - old["kernel"]).max() > 1e-4


@pytest.mark.parametrize("bad, accumulation", [(np.nan, 1), (np.inf, 2)])
def test_a_step_that_is_not_finite_changes_nothing_but_counts(bad, accumulation):
    dino = dataclasses.replace(make_dino(), accumulation=accumulation)
    step, good = jax.jit(dino.step), make_crops()
    spoilt = {**good, "local": good["local"].at[7, 2, 3, 3].set(bad)}
    before, _ = step(*(run(dino, good, steps=2)[0], good))
    state, counts = before, []
    for crops in (spoilt, spoilt, good, spoilt):
        state, metrics = step(state, crops)
        counts.append((int(metrics["skipped_steps"]), int(metrics["skipped_in_a_row"])))
        if len(counts) == 2:
            for name in ("student", "teacher", "optimizer", "center", "rng"):
                jax.tree.map(np.testing.assert_array_equal, state[name], before[name])
    assert counts == [(1, 1), (2, 2), (2, 0), (3, 1)]
    assert int(state["step"]) == int(before["step"]) + 4
    kernel = state["student"]["head"]["fc1"]["kernel"]
    assert (
        np.isfinite(kernel).all() and (kernel != before["student"]["head"]["fc1"]["kernel"]).any()
    )
