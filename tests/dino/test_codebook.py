"""The loss of a learned dictionary against its formula in float64 PyTorch, and its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from rats_jax.dino import codebook
from rats_jax.dino.codebook import Codebook, assign, at_a_time, codebook_loss, statistics

SETTINGS = Codebook(weight=0.7, beta=0.25, diversity=0.3, temperature=0.2)
B, N, D, E = 6, 8, 12, 10


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def random_arrays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Registers of lengths around 20, and entries of which one is the nearest of none."""
    rng = np.random.default_rng(seed)
    registers = 6 * rng.standard_normal((B, N, D), np.float32)
    entries = 0.3 * rng.standard_normal((E, D), np.float32)
    entries[3] *= 4
    return registers, entries


def by_formula(registers, entries, settings: Codebook):
    """Loss, gradients of registers and entries, distances [M, E], softmax [M, E]; float64."""
    r, e = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (registers, entries))
    unit = (r / r.norm(dim=-1, keepdim=True)).reshape(-1, r.shape[-1])
    distances = ((unit[:, None] - e[None]) ** 2).sum(-1)
    chosen = e[distances.argmin(1)]
    to_entries = ((unit.detach() - chosen) ** 2).sum(-1).mean()
    to_registers = ((unit - chosen.detach()) ** 2).sum(-1).mean()
    soft = torch.softmax(-distances / settings.temperature, dim=1)
    mean = soft.mean(0)
    entropy = -torch.special.xlogy(mean, mean).sum()
    loss = settings.weight * (to_entries + settings.beta * to_registers)
    loss = loss - settings.diversity * entropy
    loss.backward()
    return loss.item(), r.grad.numpy(), e.grad.numpy(), distances.detach().numpy(), soft.detach()


@pytest.mark.parametrize("largest", [2**20, 4 * E, 1])
@pytest.mark.parametrize(
    "settings", [SETTINGS, Codebook(weight=1.0, beta=0.0, diversity=0.0, temperature=0.05)]
)
def test_loss_and_gradients_are_those_of_the_formula(monkeypatch, largest, settings):
    monkeypatch.setattr(codebook, "LARGEST", largest)
    registers, entries = random_arrays()
    loss, to_registers, to_entries, *_ = by_formula(registers, entries, settings)
    (ours, _), gradients = jax.value_and_grad(codebook_loss, argnums=(0, 1), has_aux=True)(
        registers, entries, settings
    )
    np.testing.assert_allclose(ours, loss, rtol=1e-5)
    for gradient, expected in zip(gradients, (to_registers, to_entries), strict=True):
        np.testing.assert_allclose(
            gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
        )


def test_assignment_and_statistics_are_those_of_the_formula():
    registers, entries = random_arrays()
    *_, distances, soft = by_formula(registers, entries, SETTINGS)
    assigned = assign(registers, entries, temperature=SETTINGS.temperature)
    nearest = np.bincount(distances.argmin(1), minlength=E) / (B * N)
    assert nearest[3] == 0
    np.testing.assert_allclose(assigned.nearest, nearest, rtol=1e-6)
    np.testing.assert_allclose(assigned.soft, soft.mean(0), rtol=1e-4, atol=1e-7)
    numbers = statistics(assigned)
    seen, mean = nearest[nearest > 0], soft.mean(0).numpy()
    np.testing.assert_allclose(numbers["dictionary_loss"], distances.min(1).mean(), rtol=1e-5)
    usage = np.exp(-(seen * np.log(seen)).sum()) / E
    np.testing.assert_allclose(numbers["dictionary_usage"], usage, rtol=1e-5)
    np.testing.assert_allclose(numbers["dictionary_used"], len(seen) / E)
    entropy = -(mean * np.log(np.maximum(mean, 1e-300))).sum()
    np.testing.assert_allclose(numbers["dictionary_entropy"], entropy, rtol=1e-5)


def test_parts_of_a_batch_have_its_loss_and_gradients():
    """The entropy of the mean would be another number in each part."""
    registers, entries = random_arrays()
    whole = jax.value_and_grad(codebook_loss, argnums=1, has_aux=True)
    (loss, assigned), gradient = whole(registers, entries, SETTINGS)
    parts = [whole(registers[i::3], entries, SETTINGS, mean=assigned.soft) for i in range(3)]
    np.testing.assert_allclose(np.mean([part[0][0] for part in parts]), loss, rtol=1e-5)
    np.testing.assert_allclose(np.mean([part[1] for part in parts], 0), gradient, atol=1e-6)
    alone = [whole(registers[i::3], entries, SETTINGS)[0][0] for i in range(3)]
    assert abs(np.mean(alone) - loss) > 1e-3


def test_neither_length_nor_number_of_registers_changes_the_loss():
    registers, entries = random_arrays()
    loss = codebook_loss(registers, entries, SETTINGS)[0]
    more = np.concatenate([0.01 * registers, 100 * registers])
    np.testing.assert_allclose(codebook_loss(more, entries, SETTINGS)[0], loss, rtol=1e-5)


def test_registers_of_zero_and_registers_that_are_an_entry_have_finite_gradients():
    registers, entries = random_arrays()
    registers[0] = 0
    entries[0] = registers[1, 0] / np.linalg.norm(registers[1, 0])
    cold = Codebook(weight=1.0, beta=0.25, diversity=1.0, temperature=1e-3)
    gradients = jax.grad(lambda r, e: codebook_loss(r, e, cold)[0], argnums=(0, 1))
    to_registers, to_entries = gradients(registers, entries)
    assert np.isfinite(to_registers).all() and np.isfinite(to_entries).all()
    assert (to_registers[0] == 0).all() and to_registers[1:].any()


def test_so_many_registers_at_a_time_that_distances_stay_small(monkeypatch):
    assert at_a_time(192, 4096) == 192
    assert at_a_time(384, 4096) == 192
    assert at_a_time(384, 32_768) == 32
    assert at_a_time(7, 2**22) == 1

    registers, entries = jnp.ones((4, 64, D)), jnp.ones((4096, D))
    whole = 4 * 64 * 4096 * 4

    def temporaries() -> int:
        loss = jax.grad(lambda r, e: codebook_loss(r, e, SETTINGS)[0], argnums=(0, 1))
        compiled = jax.jit(loss).lower(registers, entries).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries() > whole
    monkeypatch.setattr(codebook, "LARGEST", 4 * 4096)
    assert temporaries() < whole / 2
