"""The matching beside scipy's, its costs beside those of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from transformers.models.mask2former import modeling_mask2former as official

from rats_jax.mask_head.matching import MOST, match, matching_costs
from rats_jax.mask_head.options import LossOptions
from rats_jax.mask_head.targets import AtPoints, Targets

matched = jax.jit(match)


def assert_least(costs: np.ndarray, present: np.ndarray, query: np.ndarray, *, same: bool) -> None:
    """costs [M, Q] of one image; same: whether the assignment is unique."""
    queries = costs.shape[1]
    assert (query[~present] == -1).all()
    rows, columns = linear_sum_assignment(costs[present])
    own = query[present]
    found = np.flatnonzero(own >= 0)
    assert len(found) == min(present.sum(), queries) == len(set(own[found]))
    total = costs[present][found, own[found]].sum()
    expected = costs[present][rows, columns].sum()
    np.testing.assert_allclose(total, expected, rtol=1e-5, atol=1e-5)
    if same:
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_array_equal(own[found], columns)


@pytest.mark.parametrize("masks, queries", [(40, 96), (100, 96), (1, 1), (9, 4)])
def test_assignments_are_those_of_scipy(masks, queries):
    draw = np.random.default_rng(0)
    costs = draw.normal(size=(2, 8, masks, queries)).astype(np.float32)
    present = draw.permuted(np.arange(masks) < draw.integers(0, masks + 1, (8, 1)), axis=1)
    present[0], present[1] = True, False
    found = np.asarray(matched(costs, present))
    for layer in range(2):
        for image in range(8):
            assert_least(costs[layer, image], present[image], found[layer, image], same=True)


def test_costs_that_are_equal_have_an_assignment_of_least_cost():
    """As at the start of training, where many queries are alike."""
    costs = np.random.default_rng(1).integers(0, 3, (1, 50, 12, 20)).astype(np.float32)
    found = np.asarray(matched(costs, np.ones((50, 12), bool)))
    for image in range(50):
        assert_least(costs[0, image], np.ones(12, bool), found[0, image], same=False)


def test_padding_does_not_change_the_assignment():
    costs = np.random.default_rng(2).normal(size=(1, 4, 6, 10)).astype(np.float32)
    wide = np.full((1, 4, 30, 10), -50, np.float32)  # cheaper than any mask
    wide[:, :, 3:9] = costs
    present = np.zeros((4, 30), bool)
    present[:, 3:9] = True
    np.testing.assert_array_equal(
        matched(wide, present)[:, :, 3:9], matched(costs, np.ones((4, 6), bool))
    )


def arrays_of_costs(seed: int = 0):
    draw = np.random.default_rng(seed)
    classes, points = 5, 64
    class_logits = draw.normal(size=(2, 7, classes + 1)).astype(np.float32)
    mask_logits = 4 * draw.normal(size=(2, points, 7)).astype(np.float32)
    values = draw.random((2, points, 3), np.float32)
    labels = draw.integers(0, classes, (2, 3)).astype(np.int32)
    return class_logits, mask_logits, values, labels


def test_costs_are_those_of_transformers_on_the_points_that_count():
    class_logits, mask_logits, values, labels = arrays_of_costs()
    valid = np.random.default_rng(1).random((2, 64)) < 0.7
    options = LossOptions(class_weight=1.5, mask_weight=3.0, dice_weight=4.0)
    costs = matching_costs(
        class_logits,
        mask_logits,
        Targets(labels, np.ones((2, 3), bool)),
        AtPoints(np.zeros((2, 64, 2)), values, valid),
        options,
    )
    for image in range(2):
        logits, truth = (
            torch.tensor(x[image][valid[image]].T.copy()) for x in (mask_logits, values)
        )
        of_class = -torch.tensor(class_logits[image]).softmax(-1)[:, labels[image]]
        expected = (
            1.5 * of_class
            + 3 * official.pair_wise_sigmoid_cross_entropy_loss(logits, truth)
            + 4 * official.pair_wise_dice_loss(logits, truth)
        )
        np.testing.assert_allclose(costs[image], expected.numpy().T, rtol=1e-5, atol=1e-5)


def test_a_query_that_is_not_finite_is_matched_last():
    class_logits, mask_logits, values, labels = arrays_of_costs()
    mask_logits[:, 3, :3] = np.nan, np.inf, -np.inf
    targets = Targets(labels, np.ones((2, 3), bool))
    at = AtPoints(np.zeros((2, 64, 2)), values, np.ones((2, 64), bool))
    costs = matching_costs(class_logits, mask_logits, targets, at, LossOptions())
    assert (costs[:, :, :3] == MOST).all() and (costs[:, :, 3:] < 100).all()
    assert (matched(costs[None], targets.present) >= 3).all()
    everything = jnp.full_like(costs, MOST)  # and if all are, the search still ends
    assert (matched(everything[None], targets.present) >= 0).all()
