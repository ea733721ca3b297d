"""Vital signs against float64 NumPy, on made-up collapses, and on meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.dino.monitors import (
    COPY,
    effective_rank,
    feature_std,
    register_copies,
    registers_dead,
    targets,
    vital_signs,
)
from rats_jax.dino.register_health import DEAD
from rats_jax.parallel.mesh import batch_sharding, on_mesh
from rats_jax.parallel.rules import state_shardings
from tests.runs.tiny import tiny_config

TEMPERATURE = 0.04
OF_VECTORS = ("prototype_usage", "target_information", "feature_std", "effective_rank")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slow_signs(network, state, crops) -> dict[str, float]:
    """From the features, one sample, register and loss at a time."""
    images = crops["global"].reshape(-1, *crops["global"].shape[2:])
    registers = np.float64(network.features(state["teacher"], images).registers)
    samples, count, width = registers.shape
    if network.losses == 1:
        vectors = registers.mean(1, keepdims=True)
    else:
        owned = count // network.heads
        vectors = [registers[:, h * owned : (h + 1) * owned].mean(1) for h in range(network.heads)]
        vectors = np.stack(vectors, 1)
    logits = np.float64(network.logits(state["teacher"], {"global": crops["global"]}))
    logits = logits.reshape(samples, network.losses, -1)
    signs = {name: [] for name in OF_VECTORS}
    for g in range(network.losses):
        each = np.exp((logits[:, g] - np.float64(state["center"])[g]) / TEMPERATURE)
        each /= each.sum(1, keepdims=True)
        mean = each.mean(0)
        signs["prototype_usage"].append(np.exp(-(mean * np.log(mean)).sum()) / mean.size)
        divergences = (each * np.log(each / mean)).sum(1)
        signs["target_information"].append(divergences.mean())
        unit = [v / np.sqrt((v**2).sum()) for v in vectors[:, g]]
        signs["feature_std"].append(np.std(unit, axis=0).mean() * np.sqrt(width))
        values = np.linalg.eigvalsh(np.cov(vectors[:, g].T))
        signs["effective_rank"].append(values.sum() ** 2 / (values**2).sum())
    signs = {name: np.mean(values) for name, values in signs.items()}
    copies = dead = 0
    for i in range(count):
        cosines = [
            np.mean([a @ b / np.sqrt(a @ a * b @ b) for a, b in zip(*pair, strict=True)])
            for j in range(count)
            if j != i
            for pair in [(registers[:, i], registers[:, j])]
        ]
        copies += max(cosines) > COPY
        dead += registers[:, i].var(0).sum() < DEAD * (registers[:, i] ** 2).mean(0).sum()
    flat = (jax.tree.leaves(state[who]) for who in ("student", "teacher"))
    student, teacher = (np.concatenate([np.float64(x).ravel() for x in xs]) for xs in flat)
    return signs | {
        "register_copies": copies / count,
        "registers_dead": dead / count,
        "student_distance": np.linalg.norm(student - teacher) / np.linalg.norm(teacher),
    }


def make_case(loss_scope: str):
    """A method, a state away from its start, and crops; one register is a copy, one is dead."""
    config = tiny_config(model__heads=4, dino__loss_scope=loss_scope)
    dino = make_dino(config, images=40)
    state = jax.tree.map(np.asarray, jax.jit(dino.init, static_argnums=0)(0))
    state["center"] = 0.1 * draw(*state["center"].shape)
    registers = 0.03 * draw(*state["teacher"]["backbone"]["registers"].shape, seed=1)
    registers[1, 0] = registers[1, 1]
    registers[2, 0] *= 100
    state["teacher"]["backbone"]["registers"] = registers
    crops = draw(8, 2, 16, 16, 3) + 3 * draw(8, 1, 1, 1, 3, seed=2)  # each of its own colour
    return config, dino, state, {"global": crops}


@pytest.mark.parametrize("loss_scope", ["all", "head"])
def test_vital_signs_are_those_of_float64_on_any_mesh(loss_scope):
    config, dino, state, crops = make_case(loss_scope)
    with jax.default_matmul_precision("highest"):
        expected = slow_signs(dino.network, state, crops)
    assert expected["register_copies"] == 2 / 8 and expected["registers_dead"] == 1 / 8
    assert expected["student_distance"] > 0.1 and expected["target_information"] > 0.1
    assert 1.5 < expected["effective_rank"] < 15 and 0.05 < expected["prototype_usage"] < 0.95

    for sizes in ({"data": 1}, {"data": 2, "tensor": 2}, {"data": 1, "fsdp": 2, "tensor": 2}):
        config.mesh.update(sizes)
        count = int(np.prod(list(config.mesh.values())))
        mesh = make_mesh(config, jax.devices()[:count])

        def signs(state, crops, mesh=mesh):
            with on_mesh(mesh):
                return vital_signs(dino.network, state, crops, teacher_temperature=TEMPERATURE)

        placed = jax.device_put(state, state_shardings(mesh, state))
        ours = jax.jit(signs)(placed, jax.device_put(crops, batch_sharding(mesh)))
        assert all(x.dtype == jnp.float32 and x.shape == () for x in ours.values())
        assert ours.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(ours[name], value, rtol=2e-5, err_msg=f"{name} on {sizes}")


def test_targets_of_their_own_use_all_prototypes_and_tell_the_sample():
    ten_each = 1e3 * jnp.tile(jnp.eye(8)[:, None], (10, 1, 1))
    for every, used in ((1, 8), (2, 4), (8, 1)):
        usage, information = targets(ten_each[::every])
        assert usage == pytest.approx(used / 8)
        assert information == pytest.approx(np.log(used), abs=1e-6)


def test_targets_that_are_the_same_tell_nothing_however_many_prototypes_they_use():
    for logits, used in ((jnp.zeros(8), 8), (1e3 * jnp.eye(8)[3], 1)):
        usage, information = targets(jnp.tile(logits, (10, 1, 1)))
        assert usage == pytest.approx(used / 8)
        assert information == pytest.approx(0, abs=1e-6)


def test_feature_std_is_one_for_directions_spread_evenly_and_none_for_one():
    spread = draw(20_000, 1, 16)
    assert feature_std(spread) == pytest.approx(1, abs=0.01)
    assert feature_std(spread * 1e-3 + 1) < 2e-3
    assert feature_std(np.ones_like(spread)) < 1e-6


@pytest.mark.parametrize("dimensions", [1, 5, 16])
def test_effective_rank_counts_the_dimensions_that_vary(dimensions):
    x = np.full((20_000, 1, 16), 3, np.float32)
    x[:, :, :dimensions] += draw(20_000, 1, dimensions)
    assert effective_rank(x) == pytest.approx(dimensions, rel=0.01)


def test_effective_rank_of_what_does_not_vary_is_nothing_and_not_nan():
    assert effective_rank(np.ones((8, 2, 16), np.float32)) == 0


def test_registers_that_differ_are_neither_copies_nor_dead():
    registers = draw(16, 6, 24)
    assert register_copies(registers) == registers_dead(registers) == 0


def test_registers_that_share_much_are_not_copies_until_they_share_all_but_little():
    own, common = draw(64, 6, 256), draw(64, 1, 256, seed=1)
    assert register_copies(own + 2 * common) == 0
    assert register_copies(own + 10 * common) == 1


def test_a_register_that_says_the_same_of_every_image_is_dead():
    registers = draw(16, 4, 24)
    registers[:, 2] = registers[0, 2] + 0.01 * draw(16, 24)
    assert registers_dead(registers) == 0.25


def test_models_without_registers_have_no_register_signs():
    config = tiny_config(model__architecture="vit")
    dino = make_dino(config, images=40)
    state = jax.eval_shape(lambda: dino.init(0))
    crops = {"global": draw(2, 2, 16, 16, 3)}
    signs = jax.eval_shape(
        lambda *x: vital_signs(dino.network, *x, teacher_temperature=TEMPERATURE), state, crops
    )
    assert signs.keys() == {*OF_VECTORS, "student_distance"}


def test_zeros_are_dead_and_no_nan():
    registers = draw(16, 4, 8)
    registers[:, 1:] = registers[:, :1]  # copies
    registers[:, 3] = 0
    assert float(register_copies(registers)) == 3 / 4
    assert float(registers_dead(registers)) == 1 / 4
    assert float(feature_std(np.zeros((16, 1, 8), np.float32))) == 0
