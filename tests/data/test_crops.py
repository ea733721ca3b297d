"""Crop boxes against torchvision's published sampling."""

import math

import numpy as np
import pytest
from scipy import stats

from rats_jax.data.crops import MultiCrop, random_box

CROPS = MultiCrop(
    global_size=20, local_size=12, local_crops=3, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)


class ScriptedRandom:
    """Plays a list of uniform numbers in [0, 1) as either generator's calls."""

    def __init__(self, seed):
        self.numbers = np.random.default_rng(seed).random(64).tolist()

    def random(self):
        return self.numbers.pop(0)

    def uniform(self, low, high):
        return low + (high - low) * self.random()

    def integers(self, stop):
        return int(self.random() * stop)


def torchvision_box(width, height, scale, random):
    """RandomResizedCrop.get_params as documented, with (i, j, h, w) turned into a box."""
    ratio = (3.0 / 4.0, 4.0 / 3.0)
    area = height * width
    log_ratio = [math.log(r) for r in ratio]
    for _ in range(10):
        target_area = area * random.uniform(scale[0], scale[1])
        aspect_ratio = math.exp(random.uniform(log_ratio[0], log_ratio[1]))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            i = random.integers(height - h + 1)
            j = random.integers(width - w + 1)
            return j, i, j + w, i + h
    in_ratio = float(width) / float(height)
    if in_ratio < min(ratio):
        w = width
        h = round(w / min(ratio))
    elif in_ratio > max(ratio):
        h = height
        w = round(h * max(ratio))
    else:
        w = width
        h = height
    i = (height - h) // 2
    j = (width - w) // 2
    return j, i, j + w, i + h


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64), (900, 30), (20, 700), (1, 1)])
@pytest.mark.parametrize("scale", [(0.25, 1.0), (0.05, 0.25), (1.0, 1.0)])
def test_boxes_are_torchvisions_given_the_same_random_numbers(size, scale):
    for seed in range(200):
        ours = random_box(size, ScriptedRandom(seed), scale=scale)
        assert ours == torchvision_box(*size, scale, ScriptedRandom(seed))


def test_boxes_follow_torchvisions_distribution():
    size, scale, count = (120, 80), (0.05, 1.0), 4000
    rng = np.random.default_rng(0)
    ours = np.array([random_box(size, rng, scale=scale) for _ in range(count)])
    rng = np.random.default_rng(1)
    theirs = np.array([torchvision_box(*size, scale, rng) for _ in range(count)])
    assert ours.min() >= 0 and (ours[:, 2:] <= size).all()
    for a, b in zip(ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(a, b).pvalue > 1e-3


def test_without_a_fitting_box_the_largest_central_one_is_taken():
    rng = np.random.default_rng(0)
    assert random_box((900, 30), rng, scale=(0.9, 1.0)) == (430, 0, 470, 30)
    assert random_box((30, 900), rng, scale=(0.9, 1.0)) == (0, 430, 30, 470)
    assert random_box((1, 1), rng, scale=(0.05, 0.25)) == (0, 0, 1, 1)


def test_a_draw_is_a_box_and_a_coin_for_each_view_in_turn():
    boxes, flips = CROPS.draw((90, 70), np.random.default_rng(7))
    rng = np.random.default_rng(7)
    scales = [CROPS.global_scale] * 2 + [CROPS.local_scale] * 3
    assert CROPS.views == 5
    for box, flip, scale in zip(boxes, flips, scales, strict=True):
        assert box == random_box((90, 70), rng, scale=scale)
        assert flip == (rng.random() < 0.5)


def test_half_of_the_crops_are_flipped():
    rng = np.random.default_rng(0)
    flips = [flip for _ in range(400) for flip in CROPS.draw((60, 60), rng)[1]]
    assert abs(np.mean(flips) - 0.5) < 4.5 * math.sqrt(0.25 / len(flips))


@pytest.mark.parametrize(
    "field, value", [("global_scale", (0.5, 0.2)), ("local_scale", (0, 1)), ("local_crops", -1)]
)
def test_impossible_settings_are_refused(field, value):
    settings = {name: getattr(CROPS, name) for name in CROPS.__dataclass_fields__}
    with pytest.raises(ValueError):
        MultiCrop(**{**settings, field: value})
