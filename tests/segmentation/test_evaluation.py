"""Whole images are read, predicted and scored."""

import threading

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.segmentation.evaluation import evaluate
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.resizing import evaluated_size, for_evaluation
from rats_jax.segmentation.scoring import open_scorer

PATCH = 4
SIDES = {"short_side": 32, "long_side": 64, "multiple": PATCH}


class Images:
    """Images whose dark pixels are of class 0 and whose bright ones are of class 1; some broken."""

    name, task, classes = "squares", "semantic", ("dark", "bright")

    def __init__(self, broken=(), number: int = 9):
        self.broken, self.number = broken, number

    def __len__(self) -> int:
        return self.number

    def sample(self, i: int) -> Segmented:
        if i in self.broken:
            raise UserError(f"{i}.jpg is broken")
        rng = np.random.default_rng(i)
        labels = rng.integers(0, 2, (5 + i % 3, 6)).repeat(8, 0).repeat(8, 1).astype(np.int16)
        image = np.repeat(55 + 100 * labels[..., None], 3, 2).astype(np.uint8)
        return Segmented(image, labels, None, None, None, f"{i}.jpg")


def by_brightness(image: np.ndarray) -> Outputs:
    """Two queries, which are sure of one class each, at a quarter of the resolution."""
    height, width = image.shape[0] // PATCH, image.shape[1] // PATCH
    bright = image[..., 0].reshape(height, PATCH, width, PATCH).mean((1, 3)) / 10.0 - 10.5
    classes = np.array([[9, -9, -9], [-9, 9, -9]], np.float32)
    return Outputs(classes, np.stack([-bright, bright]).astype(np.float32))


def scored(dataset=None, predict=by_brightness, **options):
    dataset = dataset or Images()
    scorer = open_scorer(dataset)
    return scorer, evaluate(dataset, predict, scorer, threads=2, **(SIDES | options))


def test_all_images_are_scored_and_the_loop_beats():
    beats, names = [], set()

    def predict(image):
        names.add(threading.current_thread().name)
        return by_brightness(image)

    scorer, found = scored(predict=predict, beat=lambda: beats.append(1))
    assert len(scorer) == len(beats) == 9 and found == ([], [])
    assert scorer.metrics()["semantic/miou"] > 0.85  # corners of squares are rounded
    assert names == {threading.current_thread().name}


def test_models_of_patches_and_of_labels():
    def of_patches(image):
        return by_brightness(image).mask_logits.transpose(1, 2, 0)

    def of_pixels(image):
        return (image[..., 0] > 105).astype(np.int64)

    for predict in (of_patches, of_pixels):
        scorer, _ = scored(predict=predict)
        assert scorer.metrics()["semantic/miou"] > 0.85


def test_broken_images_are_left_out_and_reported(capsys):
    scorer, found = scored(Images(broken=(2, 5)))
    assert len(scorer) == 7 and found.left_out == ["2.jpg is broken", "5.jpg is broken"]
    assert "warning: skipped: 2.jpg is broken" in capsys.readouterr().out
    with pytest.raises(UserError, match="^no image of squares can be scored: 0.jpg is broken"):
        scored(Images(broken=range(9)))


def test_processes_share_the_images():
    whole, _ = scored()
    merged = open_scorer(Images())
    merged.merge(scored(indices=range(k, 9, 2))[0].state() for k in range(2))
    assert merged.measured() == whole.measured()


def test_examples_are_those_that_were_asked_for():
    _, found = scored(Images(broken=(4,)), examples=(1, 4, 8))
    assert [of.truth.name for of in found.examples] == ["1.jpg", "8.jpg"]
    for of in found.examples:
        assert of.prediction.shape == of.truth.labels.shape
        assert (of.prediction == of.truth.labels).mean() > 0.85


def test_a_model_that_diverged_ends_the_evaluation():
    def predict(image):
        outputs = by_brightness(image)
        return outputs._replace(mask_logits=outputs.mask_logits * np.nan)

    with pytest.raises(UserError, match="^0.jpg: .*training has diverged"):
        scored(predict=predict)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((512, 683), (512, 688)),  # 683 is nearer to 43 patches than to 42
        ((1024, 1366), (512, 688)),
        ((100, 3000), (64, 2048)),  # the long side is the limit: 68 pixels are 4 patches
        ((1, 3000), (16, 2048)),
        ((300, 300), (512, 512)),
    ],
)
def test_sizes(size, expected):
    sides = {"short_side": 512, "long_side": 2048, "multiple": 16}
    assert evaluated_size(size, **sides) == expected
    assert evaluated_size(size[::-1], **sides) == expected[::-1]


def test_resizing():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert for_evaluation(image, 4, 8, 2) is image
    larger = for_evaluation(image, 8, 100, 2)
    assert larger.shape == (8, 12, 3) and larger.dtype == np.uint8
    assert abs(larger.mean() - image.mean()) < 1
