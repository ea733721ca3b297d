"""The loss, its gradient and the center against loops in float64 NumPy, and their memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.dino.loss import dino_loss, update_center

STUDENT_TEMPERATURE = 0.1


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def random_logits(*, B: int, V: int, G: int, K: int, spread: float = 1.0):
    """Student logits [B, V, G, K], teacher logits [B, 2, G, K], center [G, K]; float32."""
    rng = np.random.default_rng(0)
    shapes = (B, V, G, K), (B, 2, G, K), (G, K)
    return [(spread * rng.standard_normal(shape)).astype(np.float32) for shape in shapes]


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max()
    return x - np.log(np.exp(x).sum())


def slow_loss(student, teacher, center, *, teacher_temperature):
    """Loss, gradient with respect to the student, teacher entropy; a loop over every term."""
    student, teacher, center = (np.asarray(x, np.float64) for x in (student, teacher, center))
    B, V, G, _ = student.shape
    losses, entropies, gradient = [], [], np.zeros_like(student)
    terms = B * G * (2 * V - 2)
    for b in range(B):
        for g in range(G):
            for i in range(2):
                log_target = log_softmax((teacher[b, i, g] - center[g]) / teacher_temperature)
                target = np.exp(log_target)
                entropies.append(-(target * log_target).sum())
                for v in range(V):
                    if v == i:
                        continue
                    log_probability = log_softmax(student[b, v, g] / STUDENT_TEMPERATURE)
                    losses.append(-(target * log_probability).sum())
                    pull = np.exp(log_probability) - target
                    gradient[b, v, g] += pull / STUDENT_TEMPERATURE / terms
    assert len(losses) == terms
    return np.mean(losses), gradient, np.mean(entropies)


def loss_of(student, teacher, center, temperature=0.04):
    return dino_loss(
        student,
        teacher,
        center,
        student_temperature=STUDENT_TEMPERATURE,
        teacher_temperature=temperature,
    )


@pytest.mark.parametrize("G", [1, 3])
@pytest.mark.parametrize("V", [2, 7])
@pytest.mark.parametrize("spread", [0.1, 1.0, 1000.0])
def test_loss_and_gradient(G, V, spread):
    arrays = random_logits(B=3, V=V, G=G, K=40, spread=spread)
    loss, gradient, entropy = slow_loss(*arrays, teacher_temperature=0.05)

    actual = loss_of(*arrays, temperature=0.05)
    actual_gradient = jax.grad(lambda student: loss_of(student, *arrays[1:], 0.05).loss)(arrays[0])
    np.testing.assert_allclose(actual.loss, loss, rtol=2e-6)
    np.testing.assert_allclose(actual.teacher_entropy, entropy, rtol=2e-5, atol=2e-6 * spread)
    np.testing.assert_allclose(actual.kl, actual.loss - actual.teacher_entropy)
    error = np.linalg.norm(actual_gradient - gradient)
    assert error < 2e-5 * np.linalg.norm(gradient)


def test_gradient_scales_with_the_cotangent():
    """The backward pass is written by hand; a chain behind the loss must reach it."""
    student, *others = random_logits(B=2, V=4, G=1, K=8)
    plain = jax.grad(lambda x: loss_of(x, *others).loss)(student)
    chained = jax.grad(lambda x: jnp.square(loss_of(x, *others).loss))(student)
    factor = 2 * loss_of(student, *others).loss
    np.testing.assert_allclose(chained, factor * plain, rtol=1e-5)


def test_nothing_flows_to_the_teacher():
    arrays = random_logits(B=2, V=4, G=1, K=8)
    gradients = jax.grad(lambda *xs: loss_of(*xs).loss, argnums=1)(*arrays)
    assert not np.any(gradients)


def test_center_moves_by_the_mean_raw_logits():
    _, teacher, center = random_logits(B=3, V=2, G=2, K=40)
    expected = np.zeros((2, 40))
    for b in range(3):
        for i in range(2):
            expected += np.float64(teacher[b, i]) / 6
    expected = 0.9 * center + 0.1 * expected
    actual = update_center(center, teacher.mean((0, 1)), momentum=0.9)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_no_pair_of_crops_is_held_in_memory():
    """At V = 12 the 22 pairs would take 22 arrays of [B, K]; the student's logits take 12."""
    B, V, K = 4, 12, 16_384
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((B, V, 1, K), (B, 2, 1, K), (1, K))]
    step = jax.jit(jax.value_and_grad(lambda *xs: loss_of(*xs).loss))
    memory = step.lower(*shapes).compile().memory_analysis()
    row = 4 * B * K  # bytes of one crop's logits
    assert memory.output_size_in_bytes < 12.1 * row  # the gradient, and a scalar
    assert memory.temp_size_in_bytes < 15 * row, memory.temp_size_in_bytes / row
