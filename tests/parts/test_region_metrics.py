"""The metrics against scikit-learn and against a slow reading of the paper's words."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from rats_jax.errors import UserError
from rats_jax.parts.region_metrics import (
    HEADERS,
    UNSCORED,
    RegionScores,
    mean_scores,
    measured_headers,
    overlaps,
    score,
)
from tests.parts.literal_metrics import best_pairing, literal_best_overlap, literal_scores

VOID = 255


def random_case(rng):
    height, width = rng.integers(1, 9, 2)
    ids = rng.choice([0, 1, 2, 3, 7, 40, 1000, 9_000_000], rng.integers(1, 7), replace=False)
    truth = rng.choice(ids, (height, width))
    kinds = rng.integers(1, 13)
    prediction = rng.integers(0, kinds, (height, width))
    if rng.random() < 0.5:  # agreement beyond chance
        prediction = np.where(
            rng.random(truth.shape) < 0.7, np.searchsorted(ids, truth), prediction
        )
    truth[rng.random(truth.shape) < rng.choice([0, 0.2, 0.9])] = VOID
    return prediction.astype(np.int32), truth.astype(np.int32)


def test_500_random_maps_equal_the_references():
    rng = np.random.default_rng(0)
    cases = {"scored": 0, "void": 0, "all void": 0, "one region": 0, "one pixel": 0, "many": 0}
    for _ in range(500):
        prediction, truth = random_case(rng)
        result = score(prediction, truth, void=VOID)
        valid = truth != VOID
        cases["void"] += not valid.all()
        if not valid.any():
            assert all(np.isnan(result))
            cases["all void"] += 1
            continue
        m2o, o2o = literal_scores(prediction, truth, VOID)
        ari = adjusted_rand_score(truth[valid], prediction[valid])
        mbo = literal_best_overlap(prediction, truth, VOID)
        expected = (m2o, o2o, ari, mbo, np.nan)
        assert result == pytest.approx(expected, abs=1e-12, nan_ok=True)
        cases["scored"] += 1
        cases["one region"] += len(np.unique(truth[valid])) == 1
        cases["one pixel"] += valid.sum() == 1
        cases["many"] += len(np.unique(prediction[valid])) > 6
    assert cases["scored"] > 400 and min(cases.values()) >= 10  # they did occur


def test_500_random_maps_with_a_background_equal_the_references():
    rng = np.random.default_rng(5)
    cases = {"scored": 0, "no part": 0, "no background": 0, "one part": 0}
    for _ in range(500):
        prediction, truth = random_case(rng)
        if not (truth != VOID).any():
            continue
        background = int(rng.choice(truth[truth != VOID])) if rng.random() < 0.8 else 12_345
        result = score(prediction, truth, void=VOID, background=background)
        assert result[:3] == score(prediction, truth, void=VOID)[:3]
        kept = (truth != VOID) & (truth != background)
        cases["no background"] += background == 12_345
        if not kept.any():
            assert np.isnan(result.mbo) and np.isnan(result.fg_ari)
            cases["no part"] += 1
            continue
        mbo = literal_best_overlap(prediction, truth, VOID, background)
        fg_ari = adjusted_rand_score(truth[kept], prediction[kept])
        assert result[3:] == pytest.approx((mbo, fg_ari), abs=1e-12)
        cases["scored"] += 1
        cases["one part"] += len(np.unique(truth[kept])) == 1
    assert cases["scored"] > 300 and min(cases.values()) >= 10, cases


def test_best_overlap_and_foreground_by_hand():
    truth = np.array([[0, 0, 0, 1, 1, 2, 2, 2]])
    prediction = np.array([[5, 5, 6, 6, 6, 6, 7, 7]])
    result = score(prediction, truth, background=0)
    assert result.mbo == pytest.approx((2 / 4 + 2 / 3) / 2)  # region 6 is the best of object 1
    assert score(prediction, truth).mbo == pytest.approx((2 / 3 + 2 / 4 + 2 / 3) / 3)
    assert result.fg_ari == pytest.approx(adjusted_rand_score([1, 1, 2, 2, 2], [6, 6, 6, 7, 7]))
    assert result.measured().keys() == HEADERS.keys()
    assert HEADERS.keys() - score(prediction, truth).measured().keys() == {"fg_ari"}


def test_the_reference_pairs_as_if_by_trying_all():
    assert best_pairing([[0.9, 0.8], [0.8, 0.1]]) == pytest.approx(1.6)
    assert best_pairing([[0.5], [0.7], [0.6]]) == pytest.approx(0.7)
    assert best_pairing([[0.2, 0.7, 0.6]]) == pytest.approx(0.7)


@pytest.mark.parametrize("kinds", [33, 192])
def test_full_size_map_equals_scikit_learn(kinds):
    rng = np.random.default_rng(1)
    truth = np.kron(rng.integers(0, 40, (16, 16)), np.ones((32, 32), int))
    prediction = np.kron(rng.integers(0, kinds, (32, 32)), np.ones((16, 16), int))
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, prediction)
    expected = adjusted_rand_score(truth.ravel(), prediction.ravel())
    assert score(prediction, truth).ari == pytest.approx(expected, abs=1e-12)


def test_hand_counted_example():
    truth = np.array([[0, 0, 0, 0, 1, 1, 2, 2]])
    prediction = np.array([[5, 5, 6, 6, 6, 7, 8, 7]])
    # 5 and 6 join 0: 4 of 5. 7 overlaps 1 and 2 alike and joins 1: 1 of 3. 8 joins 2: 1 of 2.
    result = score(prediction, truth)
    assert result.m2o == pytest.approx((4 / 5 + 1 / 3 + 1 / 2) / 3)
    # 0 with 5 (2/4), 1 with 7 (1/3), 2 with 8 (1/2)
    assert result.o2o == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)


def test_unmatched_truth_counts_as_zero():
    truth = np.repeat([0, 1, 2], [6, 2, 2])
    result = score(np.zeros(10, int), truth)
    assert result[:3] == (pytest.approx(0.6 / 3), pytest.approx(0.6 / 3), 0.0)


def test_perfect_whatever_the_ids():
    truth = np.array([[3, 3, 900], [5, 900, 900]])
    assert score(np.array([[2, 2, -1], [0, -1, -1]]), truth, background=5) == (1.0,) * 5


def test_void_pixels_never_count():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, (20, 20))
    truth[:7] = VOID
    prediction = rng.integers(0, 9, (20, 20))
    result = score(prediction, truth, void=VOID)
    prediction[:7] = rng.integers(50, 99, (7, 20))
    assert score(prediction, truth, void=VOID) == result
    assert score(prediction[7:], truth[7:]) == result
    assert score(prediction, truth) != result  # without a void id it is a region


def test_relabelling_changes_nothing_but_ties():
    rng = np.random.default_rng(3)
    truth, prediction = rng.integers(0, 6, (2, 61, 67))
    names = rng.permutation(100)
    result = score(prediction, truth, background=4)
    assert score(names[prediction], truth, background=4) == pytest.approx(result)
    renamed = score(prediction, names[truth], background=names[4])
    assert renamed == pytest.approx(result)


def test_single_truth_region():
    truth = np.ones((4, 4), int)
    halves = np.repeat([0, 1], 8).reshape(4, 4)
    assert score(halves, truth, background=0) == (1.0, 0.5, 0.0, 0.5, 0.0)
    assert score(truth, truth, background=0) == (1.0,) * 5


def test_one_pixel_and_no_pixel():
    assert score(np.array([[4]]), np.array([[9]]))[:3] == (1, 1, 1)
    assert all(np.isnan(score(np.array([[4]]), np.array([[9]]), void=9)))
    assert all(np.isnan(score(np.zeros((0, 3), int), np.zeros((0, 3), int))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_any_integer_type(dtype):
    truth = np.array([[0, 200, 200, 255]], dtype)
    prediction = np.array([[0, 1, 1, 250]], dtype)
    assert score(prediction, truth, void=255, background=0) == (1.0,) * 5


def test_panoptic_ids_do_not_need_a_huge_table():
    truth = np.array([[3, 16_000_000, 70_000, 3]])
    prediction = np.array([[16_700_000, 2, 2, 0]])
    np.testing.assert_array_equal(overlaps(prediction, truth), [[1, 0, 1], [0, 1, 0], [0, 1, 0]])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        score(np.zeros((2, 3), int), np.zeros((3, 2), int))


def test_tables_have_them_in_this_order():
    assert list(HEADERS.values()) == ["M2O", "O2O", "ARI", "mBO", "FG-ARI"]
    assert tuple(HEADERS) == RegionScores._fields


def test_mean_leaves_out_images_without_pixels():
    nan = UNSCORED
    one, other = RegionScores(0.2, 0.1, 0.0, 0.2, np.nan), RegionScores(0.4, 0.3, 0.5, 0.6, 0.7)
    result = mean_scores([one, nan, other])
    assert result.mean == pytest.approx((0.3, 0.2, 0.25, 0.4, 0.7)) and result.images == 2
    assert result.low.fg_ari == pytest.approx(0.7)  # of the image that has a foreground
    unknown = mean_scores([one, nan])
    assert np.isnan([end.fg_ari for end in unknown[:3]]).all() and unknown.high.mbo == 0.2
    assert measured_headers([one]) == {k: v for k, v in HEADERS.items() if k != "fg_ari"}
    assert measured_headers([one, other]) == HEADERS
    with pytest.raises(UserError, match="void"):
        mean_scores([nan])
    with pytest.raises(UserError, match="void"):
        mean_scores([])


def test_bootstrap_interval_is_seeded_and_close_to_the_normal_one():
    values = np.random.default_rng(4).normal(0.4, 0.1, (400, len(HEADERS)))
    scores = [RegionScores(*row) for row in values]
    result = mean_scores(scores, seed=7, resamples=4000)
    assert result == mean_scores(scores, seed=7, resamples=4000)
    assert result.low != mean_scores(scores, seed=8, resamples=4000).low
    half = 1.96 * values.std(0) / 20
    np.testing.assert_allclose(result.low, values.mean(0) - half, atol=0.1 * half.max())
    np.testing.assert_allclose(result.high, values.mean(0) + half, atol=0.1 * half.max())


def test_bootstrap_of_one_image_has_no_width():
    only = RegionScores(0.5, 0.25, 0.125, 0.75, 0.625)
    assert mean_scores([only]) == (only, only, only, 1)
