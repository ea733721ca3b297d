"""Intervals over images: against the textbook, paired, and with what cannot be measured."""

import numpy as np
from scipy.stats import norm

from rats_jax.parts.bootstrap import RESAMPLES, interval, resampled


def means_of(values: np.ndarray):
    return lambda drawn: (drawn @ values) / drawn.sum(1, keepdims=True)


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(5).normal(3, 2, (400, 1))
    (low,), (high,) = interval(values.mean(0), resampled(400, means_of(values)))
    half = norm.ppf(0.975) * values.std() / 20
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.03)


def test_the_bias_of_resampling_is_removed():
    values = np.arange(50.0)[:, None]

    def spread(drawn):  # a plug-in variance, which is too small in resamples
        mean = drawn @ values / 50
        return drawn @ values**2 / 50 - mean**2

    draws = resampled(50, spread)
    assert draws.mean() < values.var()
    (low,), (high,) = interval(values.var(0), draws)
    ends = np.percentile(draws, (2.5, 97.5)) + values.var() - draws.mean()
    np.testing.assert_allclose([low, high], ends)


def test_draws_depend_on_the_number_of_images_alone():
    values = np.random.default_rng(1).random((30, 2))
    one, other = (resampled(30, means_of(values + shift)) for shift in (0, 0.25))
    np.testing.assert_allclose(other - one, np.full((RESAMPLES, 2), 0.25))


def test_scores_that_are_not_known_have_no_ends_and_others_have_their_estimate_inside():
    draws = np.full((RESAMPLES, 3), np.nan)
    draws[:, 1], draws[: RESAMPLES // 2, 2] = 0.9, 0.5
    low, high = interval(np.array([np.nan, 1.0, 0.5]), draws)
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] <= 1 <= high[1] and low[2] == high[2] == 0.5
