"""Register health: by literal loops, and the same in any batches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.dino.monitors import registers_dead
from rats_jax.dino.register_health import health, health_sums
from rats_jax.models import Features

sums = jax.jit(partial(health_sums, has_cls=False))
sums_of_vit = jax.jit(partial(health_sums, has_cls=True))


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def features(registers: np.ndarray, attention: np.ndarray | None = None) -> Features:
    images, count = registers.shape[:2]
    if attention is None:
        attention = np.full((images, 2, count, 5), 0.2, np.float32)
    nothing = np.zeros((images, 1, 1), np.float32)
    return Features(registers, nothing, nothing[:, 0], {3: attention}, {})


def measured(of: Features, *, heads: int) -> dict[str, float]:
    return health(sums(of, jnp.ones(len(of.registers), bool)), heads=heads)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_distinct_registers_are_counted_and_copies_are_not(groups):
    directions = np.eye(8, dtype=np.float32)[np.arange(6) % groups]
    lengths = 1 + np.abs(draw(4, 6, 1))  # which do not matter
    signs = measured(features(directions * lengths), heads=1)
    assert signs["registers/distinct"] == pytest.approx(groups, rel=1e-5)


def test_distinct_registers_and_similarities_are_those_of_the_definition():
    heads, each, images = 3, 2, 5
    registers = draw(images, heads * each, 16) + draw(1, heads * each, 16, seed=1)
    cosine = np.zeros((6, 6))
    for image in registers.astype(np.float64):
        for i in range(6):
            for j in range(6):
                lengths = np.linalg.norm(image[i]) * np.linalg.norm(image[j])
                cosine[i, j] += image[i] @ image[j] / lengths / images
    shares = np.linalg.eigvalsh(cosine / 6)
    signs = measured(features(registers), heads=heads)
    assert signs["registers/distinct"] == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=1e-5
    )
    for head in range(heads):
        within = cosine[2 * head, 2 * head + 1]
        assert signs[f"heads/similarity_{head}"] == pytest.approx(within, abs=1e-6)
    pairs = [(i, j) for i in range(6) for j in range(6) if i // each != j // each]
    across = np.mean([cosine[pair] for pair in pairs])
    assert signs["registers/similarity_across_heads"] == pytest.approx(across, abs=1e-6)


def test_attention_entropy_is_one_where_all_patches_share_and_none_where_one_has_all():
    attention = np.zeros((2, 3, 4, 7), np.float32)
    attention[:, 0] = 1 / 7
    attention[:, 1, :, 2] = 1
    attention[:, 2, :, :2] = 0.5
    signs = measured(features(draw(2, 12, 8), attention), heads=3)
    expected = [1, 0, np.log(2) / np.log(7)]
    for head, value in enumerate(expected):
        assert signs[f"heads/attention_entropy_{head}"] == pytest.approx(value, abs=1e-6)
    assert signs["registers/attention_entropy"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_of_a_vit_cls_is_judged_by_what_it_gives_to_patches():
    attention = np.zeros((2, 1, 3, 4), np.float32)  # [CLS] and two registers
    attention[:, :, 0, :2] = 0.1  # most of it goes to other tokens
    attention[:, :, 1:, 3] = 1
    present = jnp.ones(2, bool)
    signs = health(sums_of_vit(features(draw(2, 2, 8), attention), present), heads=1)
    assert signs["registers/attention_entropy"] == pytest.approx(0.5, abs=1e-6)
    alone = features(draw(2, 0, 8), attention[:, :, :1])
    alone = health(sums_of_vit(alone, present), heads=1)
    assert alone.keys() == {
        "registers/attention_entropy",
        "heads/attention_entropy_0",
        "patches/shared",
    }


def test_attention_shaped_as_that_of_a_vit_is_averaged_over_registers_of_other_backbones():
    """The same shape of attention means what the options of the backbone say."""
    attention = np.zeros((2, 1, 3, 4), np.float32)
    attention[:, :, 0] = 1 / 4  # entropy 1
    attention[:, :, 1:, 3] = 1  # entropy 0
    signs = measured(features(draw(2, 2, 8), attention), heads=1)
    assert signs["registers/attention_entropy"] == pytest.approx(1 / 3, abs=1e-6)


def test_what_patches_share_is_one_where_all_point_the_same_way_and_none_where_they_cancel_out():
    one, other = draw(2, 8)
    along = np.stack([np.outer([1, 2, 3, 4], one), np.outer([1, 2, -3, -4], other)])
    of = features(draw(2, 4, 8))._replace(patches=along.astype(np.float32))
    signs = [
        health(sums(of, jnp.array(present)), heads=2)["patches/shared"]
        for present in ([True, False], [False, True], [True, True])
    ]
    np.testing.assert_allclose(signs, [1, 0, 0.5], atol=1e-6)


def test_dead_registers_are_those_of_the_vital_signs():
    registers = draw(16, 4, 24)
    registers[:, 2] = registers[0, 2] + 0.01 * draw(16, 24)
    signs = measured(features(registers), heads=2)
    assert signs["registers/dead"] == float(registers_dead(registers)) == 0.25


def test_images_count_once_in_whatever_batches_and_absent_ones_not_at_all():
    of = features(draw(6, 4, 8), np.abs(draw(6, 2, 2, 5)))
    whole = measured(jax.tree.map(lambda x: x[:5], of), heads=2)
    first = sums(jax.tree.map(lambda x: x[:4], of), jnp.ones(4, bool))
    second = sums(jax.tree.map(lambda x: x[4:], of), jnp.array([True, False]))
    assert health(jax.tree.map(lambda a, b: a + b, first, second), heads=2) == pytest.approx(
        whole, rel=1e-5, abs=1e-6
    )
    assert health(sums(of, jnp.zeros(6, bool)), heads=2) == {}
