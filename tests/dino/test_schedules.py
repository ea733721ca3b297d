"""Schedules against the official ones in float64 NumPy, at the size of a real run."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.dino.schedules import Schedules, warmup_cosine
from tests.torch_reference.dino import cosine_scheduler, teacher_temperatures

EPOCHS, STEPS_PER_EPOCH = 400, 1251  # RATS-B/16: 500,400 steps at a batch of 1,024
REAL = Schedules(
    steps=EPOCHS * STEPS_PER_EPOCH,
    steps_per_epoch=STEPS_PER_EPOCH,
    peak_learning_rate=3e-3,
    end_learning_rate=2e-6,
    warmup_steps=10 * STEPS_PER_EPOCH,
    weight_decay_start=0.04,
    weight_decay_end=0.4,
    momentum_start=0.996,
    momentum_end=1.0,
    temperature_start=0.04,
    temperature_end=0.07,
    temperature_warmup_epochs=50,
    freeze_last_layer_steps=3 * STEPS_PER_EPOCH,
)
ALL_STEPS = jnp.arange(REAL.steps)
SIZES = {"epochs": EPOCHS, "steps_per_epoch": STEPS_PER_EPOCH}


def assert_equal(actual, expected, *, relative=2e-6):
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=0)


def test_learning_rate():
    expected = cosine_scheduler(3e-3, 2e-6, **SIZES, warmup_epochs=10)
    actual = REAL.learning_rate(ALL_STEPS)
    assert_equal(actual, expected)
    assert actual[0] == 0
    peak = [12_509, 12_510]  # the last step of the warm-up and the first of the cosine
    np.testing.assert_allclose(actual[np.array(peak)], 3e-3, rtol=1e-6)


def test_weight_decay_has_no_warm_up():
    assert_equal(REAL.weight_decay(ALL_STEPS), cosine_scheduler(0.04, 0.4, **SIZES))


def test_teacher_rate_keeps_its_precision_as_the_momentum_nears_one():
    """The official momentum loses digits near 1, so the reference is its own complement."""
    expected = cosine_scheduler(1 - 0.996, 0.0, **SIZES)
    rate = REAL.teacher_rate(ALL_STEPS)
    # In float64 1 + cos loses digits too, near the end: an absolute 1e-16 of the peak.
    np.testing.assert_allclose(rate, expected, rtol=2e-6, atol=1e-18)
    np.testing.assert_allclose(1 - rate, cosine_scheduler(0.996, 1, **SIZES), rtol=1e-7)


def test_teacher_temperature_steps_once_an_epoch():
    epochs = teacher_temperatures(0.04, 0.07, warmup_epochs=50, epochs=EPOCHS)
    expected = np.repeat(epochs, STEPS_PER_EPOCH)
    assert_equal(REAL.teacher_temperature(ALL_STEPS), expected)


def test_last_layer_is_frozen_for_its_epochs_alone():
    frozen = np.asarray(REAL.last_layer_frozen(ALL_STEPS))
    assert frozen[: 3 * 1251].all()
    assert not frozen[3 * 1251 :].any()


@pytest.mark.parametrize("warmup_epochs", [0, 1, 2])
@pytest.mark.parametrize("steps_per_epoch", [1, 3])
def test_short_runs(warmup_epochs, steps_per_epoch):
    """Warm-ups of no step and of one step, where linspace is peculiar."""
    expected = cosine_scheduler(
        0.5, 0.1, epochs=5, steps_per_epoch=steps_per_epoch, warmup_epochs=warmup_epochs
    )
    steps = 5 * steps_per_epoch
    actual = warmup_cosine(
        jnp.arange(steps),
        peak=0.5,
        end=0.1,
        warmup_steps=warmup_epochs * steps_per_epoch,
        steps=steps,
    )
    assert_equal(actual, expected)


@pytest.mark.parametrize("warmup_epochs", [0, 1, 2, 5])
def test_short_temperature_warm_ups(warmup_epochs):
    schedules = dataclasses.replace(
        REAL, steps=10, steps_per_epoch=2, temperature_warmup_epochs=warmup_epochs
    )
    epochs = teacher_temperatures(0.04, 0.07, warmup_epochs=warmup_epochs, epochs=5)
    assert_equal(schedules.teacher_temperature(jnp.arange(10)), np.repeat(epochs, 2))
