"""Sheets of predictions show the colours, names and shares that they say."""

import numpy as np
import pytest

from rats_jax.pictures.overlays import MUTED, PALETTE
from rats_jax.segmentation.evaluation import Example
from rats_jax.segmentation.interface import VOID, Segmented
from rats_jax.segmentation.pictures import _by_frequency, _partners, prediction_sheet
from rats_jax.segmentation.predictions import Instances

CLASSES = tuple(f"class {i}" for i in range(80))
GREY = np.full((40, 60, 3), 100, np.uint8)


def pixels_of(sheet, colour) -> int:
    """How many have exactly this colour."""
    return int((np.asarray(sheet) == colour).all(-1).sum())


def labels_example(truth: np.ndarray, prediction: np.ndarray) -> Example:
    return Example(Segmented(GREY, truth, None, None, None, "folder/ä.jpg"), prediction)


def instance_example(masks, categories, crowd, found: Instances) -> Example:
    truth = Segmented(GREY, None, masks, np.array(categories, np.int16), np.array(crowd), "a.jpg")
    return Example(truth, found)


def test_a_class_has_one_colour_and_the_legend_has_it():
    truth, prediction = np.zeros((2, 40, 60), np.int16)
    truth[:, :30], prediction[:, :20] = 7, 7
    prediction[:, 50:], truth[:5] = 70, VOID
    example = labels_example(truth, prediction)
    assert _by_frequency([example, example]) == [0, 7, 70] or _by_frequency([example]) == [7, 0, 70]
    sheet = prediction_sheet([example, example], CLASSES)
    for colour in PALETTE[:3]:
        assert pixels_of(sheet, colour) > 150  # a swatch
    assert pixels_of(sheet, PALETTE[3]) == 0


def test_more_classes_than_the_legend_has_room_for():
    truth = (np.arange(40 * 60).reshape(40, 60) % 80).astype(np.int16)
    few = prediction_sheet([labels_example(truth % 60, truth % 60)], CLASSES)
    many = prediction_sheet([labels_example(truth, truth)], CLASSES)
    assert many.height > few.height  # a line says how many are left out


def test_an_image_without_a_labelled_pixel():
    void = np.full((40, 60), VOID, np.int16)
    prediction_sheet([labels_example(void, np.zeros_like(void))], CLASSES)


def test_a_predicted_instance_has_the_colour_of_its_partner():
    masks = np.zeros((3, 40, 60), bool)
    masks[0, 2:18, 2:28] = masks[1, 22:38, 2:28] = masks[2, 22:38, 32:58] = True
    wrong = np.zeros((1, 40, 60), bool)
    wrong[0, 2:18, 32:58] = True
    found = Instances(
        np.concatenate([np.roll(masks[1:2], 1, 1), wrong, masks[:1], masks[2:]]),
        np.array([5, 5, 6, 5], np.int16),
        np.array([0.9, 0.8, 0.7, 0.1], np.float32),
    )
    example = instance_example(masks, [5, 5, 5], [False, False, True], found)
    # The second matches nothing, the third is of another class, the last only a crowd.
    assert _partners(example, 4) == [1, None, None, None]
    sheet = prediction_sheet([example], CLASSES)
    outline = 2 * (15 + 25) * 320 // 60
    assert pixels_of(sheet, PALETTE[0]) > outline  # in the truth alone
    assert pixels_of(sheet, PALETTE[1]) > 2 * outline  # in both
    assert pixels_of(sheet, MUTED[1]) > outline
    assert pixels_of(sheet, MUTED[3]) == 0  # the score is too low


def test_without_instances():
    nothing = Instances(np.zeros((0, 40, 60), bool), np.zeros(0, np.int16), np.zeros(0, np.float32))
    example = instance_example(np.zeros((0, 40, 60), bool), [], np.zeros(0, bool), nothing)
    assert prediction_sheet([example], CLASSES).width > 3 * 320
    with pytest.raises(ValueError, match="at least one"):
        prediction_sheet([], CLASSES)
