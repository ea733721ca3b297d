"""The learning rate of fine-tuning, against PyTorch's schedulers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import ChainedScheduler, LambdaLR, MultiStepLR, PolynomialLR

from rats_jax.config import finetune_config
from rats_jax.segmentation.schedules import Schedule

STEPS, PEAK = 300, 1e-4


def torch_rates(*make) -> np.ndarray:
    """The rate of each step by these schedulers of PyTorch together."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = ChainedScheduler([of(optimizer) for of in make], optimizer)
    rates = []
    for _ in range(STEPS + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


def poly(optimizer):
    return PolynomialLR(optimizer, total_iters=STEPS, power=0.9)


def at_milestones(optimizer):
    return MultiStepLR(optimizer, milestones=[260, 290], gamma=0.1)


def whole(schedule: Schedule) -> np.ndarray:
    return schedule.learning_rate(np.arange(STEPS + 1))


def test_poly_and_steps_are_those_of_pytorch():
    assert np.allclose(whole(Schedule(steps=STEPS, peak=PEAK)), torch_rates(poly), rtol=1e-9)
    steps = Schedule(steps=STEPS, peak=PEAK, kind="steps", milestones=(260, 290))
    assert np.allclose(whole(steps), torch_rates(at_milestones), rtol=1e-9)


@pytest.mark.parametrize("after", [poly, at_milestones])
def test_warm_up_is_a_factor_on_the_schedule(after):
    kind = "poly" if after is poly else "steps"
    schedule = Schedule(steps=STEPS, peak=PEAK, kind=kind, milestones=(260, 290), warmup_steps=40)
    rates = whole(schedule)
    assert rates[0] == 0 and rates[39] < rates[40]
    plain = torch_rates(after)
    warm = torch_rates(lambda o: LambdaLR(o, lambda step: min(step / 40, 1)))
    assert np.allclose(rates, plain * warm / PEAK, rtol=1e-9)


@pytest.mark.parametrize("kind", ["poly", "steps"])
def test_jax_has_the_same_rates_to_the_last_step_of_a_long_run(kind):
    steps = 160_000
    schedule = Schedule(
        steps=steps, peak=PEAK, kind=kind, milestones=(142_222, 154_074), warmup_steps=1500
    )
    at = np.array([0, 1, 1499, 1500, 77_777, 142_221, 142_222, 154_074, steps - 1])
    rates = jax.jit(lambda step: schedule.learning_rate(step, xp=jnp))(jnp.asarray(at, jnp.int32))
    assert rates.dtype == jnp.float32
    assert np.allclose(rates, schedule.learning_rate(at), rtol=1e-5, atol=0)
    assert schedule.learning_rate(steps) == 0 or kind == "steps"


def test_a_schedule_is_made_from_a_config():
    optimizer = finetune_config().optimizer
    optimizer.update(schedule="steps", milestones=(3, 5), steps=7, gamma=0.5, learning_rate=2.0)
    schedule = Schedule.of(optimizer)
    assert [float(schedule.learning_rate(step)) for step in range(6)] == [2, 2, 2, 1, 1, 0.5]
