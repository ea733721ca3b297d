"""Average precisions are pycocotools', whose own loader is given the same masks."""

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as runs
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rats_jax.errors import UserError
from rats_jax.segmentation.average_precision import SCORES
from rats_jax.segmentation.datasets import open_segmentation
from rats_jax.segmentation.instance_scores import InstanceScorer
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.predictions import Instances
from rats_jax.segmentation.scoring import open_scorer
from tests.parts.datasets.test_coco import write_instances
from tests.segmentation.test_instances import OBJECTS

CLASSES = ("cat", "dog", "cow", "never there")
SIDE = 160  # of an image; large instances have more than 96 x 96 pixels


def ellipse(rng: np.random.Generator) -> np.ndarray:
    """A mask of one of COCO's three sizes."""
    y, x = np.mgrid[:SIDE, :SIDE]
    center, radius = rng.uniform(20, SIDE - 20, 2), rng.choice([9, 25, 80]) * rng.uniform(0.8, 1, 2)
    return ((y - center[0]) / radius[0]) ** 2 + ((x - center[1]) / radius[1]) ** 2 < 1


def guess(rng: np.random.Generator, masks: np.ndarray, categories: np.ndarray):
    """A mask and its category: mostly those of an instance, moved a little."""
    if len(masks) and rng.random() < 0.7:
        i = rng.integers(len(masks))
        category = categories[i] if rng.random() < 0.9 else rng.integers(3)
        return np.roll(masks[i], rng.integers(-3, 4, 2), (0, 1)), category
    return ellipse(rng), rng.integers(3)


def image(seed: int) -> tuple[Segmented, Instances]:
    """Some images have no instance, some no prediction; some scores are equal."""
    rng = np.random.default_rng(seed)
    number, predicted = rng.integers(0, 7), rng.integers(0, 12)
    masks = np.zeros((number, SIDE, SIDE), bool)
    for i in range(number):
        masks[i] = ellipse(rng)
    categories = rng.integers(0, 3, number).astype(np.int16)
    blank, crowd = np.zeros((SIDE, SIDE, 3), np.uint8), rng.random(number) < 0.2
    truth = Segmented(blank, None, masks, categories, crowd, f"{seed:03}.jpg")
    scores = -np.sort(-np.round(rng.random(predicted), 1)).astype(np.float32)
    guesses = [guess(rng, masks, categories) for _ in range(predicted)]
    found = np.array([mask for mask, _ in guesses], bool).reshape(predicted, SIDE, SIDE)
    return truth, Instances(found, np.array([of for _, of in guesses], np.int16), scores)


@pytest.fixture(scope="module")
def images() -> list[tuple[Segmented, Instances]]:
    return [image(seed) for seed in range(12)]


def scored(images) -> InstanceScorer:
    scorer = InstanceScorer("some", CLASSES)
    for truth, found in images:
        scorer.add_measured(scorer.measure_prediction(truth, found))
    return scorer


def by_hand(images, kind: str) -> list[float]:
    """AP, AP50, AP75, small, medium and large, as pycocotools prints them; -1 without an
    instance."""
    true, predicted = [], []
    for i, (truth, found) in enumerate(images):
        for mask, category, crowd in zip(truth.masks, truth.categories, truth.crowd, strict=True):
            encoded = runs.encode(np.asfortranarray(mask.astype(np.uint8)))
            true.append(
                {
                    "id": len(true) + 1,
                    "image_id": i,
                    "category_id": int(category),
                    "segmentation": encoded,
                    "area": int(mask.sum()),
                    "bbox": runs.toBbox(encoded).tolist(),
                    "iscrowd": int(crowd),
                }
            )
        for mask, category, score in zip(*found, strict=True):
            encoded = runs.encode(np.asfortranarray(mask.astype(np.uint8)))
            place = (
                {"segmentation": encoded}
                if kind == "segm"
                else {"bbox": runs.toBbox(encoded).tolist()}
            )
            predicted.append(
                {"image_id": i, "category_id": int(category), "score": float(score)} | place
            )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(len(images))],
        "annotations": true,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(predicted), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[:6].tolist()


def test_a_file_of_coco_is_scored_as_pycocotools_scores_it(tmp_path):
    """Polygons, run lengths, a crowd and an image without an object, read from the file by both."""
    write_instances(tmp_path, OBJECTS, images=(7, 6, 5, 4))
    dataset = open_segmentation(f"coco-instances:{tmp_path}", task="instance")
    scorer, predicted = open_scorer(dataset), []
    for i in range(len(dataset)):
        truth = dataset.sample(i)
        masks = np.concatenate([truth.masks, np.roll(truth.masks, 1, 2)])
        scores = np.linspace(0.9, 0.1, len(masks), dtype=np.float32)
        found = Instances(masks, np.tile(truth.categories, 2), scores)
        scorer.add_measured(scorer.measure_prediction(truth, found))
        predicted += [
            {
                "image_id": int(truth.name.split(".")[0]),
                "category_id": dataset.ids[category],
                "segmentation": runs.encode(np.asfortranarray(mask.astype(np.uint8))),
                "score": float(score),
            }
            for mask, category, score in zip(*found, strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "annotations/instances_val2017.json"))
        for annotation in coco.anns.values():
            annotation["area"] = int(coco.annToMask(annotation).sum())
        judge = COCOeval(coco, coco.loadRes(predicted), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    found = in_order(scorer.metrics(), "mask")
    assert 0.2 < found[0] < 1
    np.testing.assert_allclose(found, judge.stats[:6], rtol=1e-12)


def in_order(metrics: dict[str, float], kind: str) -> list[float]:
    return [metrics.get(f"instance/{score}_{kind}", -1) for score in SCORES]


def test_scores_are_pycocotools(images):
    metrics = scored(images).metrics()
    for kind, iou in (("mask", "segm"), ("box", "bbox")):
        expected = by_hand(images, iou)
        assert min(expected) > 0.02  # every size has instances, and some are found
        np.testing.assert_allclose(in_order(metrics, kind), expected, rtol=1e-12)


def test_resampled_scores_are_those_of_the_images_that_were_drawn(images):
    """With different scores: between equal ones, pycocotools takes whole copies of images."""
    rng = np.random.default_rng(1)
    images = [
        (truth, found._replace(scores=found.scores + rng.uniform(0, 0.01, len(found.scores))))
        for truth, found in images
    ]
    table = scored(images)._tables()["mask"]
    drawn = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=4)
    found = table.scores(drawn.astype(np.float64))
    for times, row in zip(drawn, found, strict=True):
        several = [of for of, n in zip(images, times, strict=True) for _ in range(n)]
        np.testing.assert_allclose(np.nan_to_num(row, nan=-1), by_hand(several, "segm"), rtol=1e-12)


def test_a_case_by_hand():
    """Two instances; the best prediction is right, the second wrong, the third right: precision
    1 up to recall .5 (51 of 101 recalls), then 2/3. The second copy of a match is wrong too."""
    masks = np.zeros((2, 20, 20), bool)
    masks[0, :5, :5] = masks[1, 10:15, 10:15] = True
    wrong = np.zeros((1, 20, 20), bool)
    wrong[0, :5, 12:] = True
    truth = Segmented(
        np.zeros((20, 20, 3), np.uint8), None, masks, np.zeros(2, np.int16), np.zeros(2, bool), "a"
    )
    predicted = np.concatenate([masks[:1], wrong, masks[1:], masks[1:]])
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    scorer = scored([(truth, Instances(predicted, np.zeros(4, np.int16), scores))])
    expected = (51 * 1 + 50 * 2 / 3) / 101
    assert scorer.metrics()["instance/ap_mask"] == pytest.approx(expected)
    assert scorer.metrics()["instance/ap_box"] == pytest.approx(expected)
    (of_class,) = scorer.classes()
    assert of_class.name == "cat" and (of_class.truth, of_class.predicted) == (2, 4)
    assert of_class.scores["ap_mask"] == pytest.approx(expected)


def test_crowds_neither_count_nor_punish():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, :5, :5] = masks[1, 10:] = True
    truth = Segmented(
        *(np.zeros((20, 20, 3), np.uint8), None, masks, np.zeros(2, np.int16)),
        *(np.array([False, True]), "a"),
    )
    inside = np.zeros((2, 20, 20), bool)
    inside[0, 11:14, 3:6] = inside[1, 15:18, 8:12] = True
    predicted = Instances(
        np.concatenate([inside, masks[:1]]), np.zeros(3, np.int16), np.array([0.9, 0.8, 0.1])
    )
    assert scored([(truth, predicted)]).metrics()["instance/ap_mask"] == pytest.approx(1)


def test_processes_merge_and_order_does_not_matter(images):
    one = scored(images)
    some, others = scored(images[1::2] + images[:1]), scored(images[::2][::-1] + images[:3])
    merged = InstanceScorer("some", CLASSES)
    merged.merge([some.state(), others.state(), InstanceScorer("some", CLASSES).state()])
    assert len(merged) == 12 and merged.metrics() == one.metrics()
    assert merged.measured() == one.measured()
    assert merged.classes() == one.classes()
    again = InstanceScorer("some", CLASSES)
    again.merge([merged.state()])
    for key, values in again.state().items():
        np.testing.assert_array_equal(values, one.state()[key])


def test_intervals_hold_their_estimates_and_differences_are_paired(images):
    one = scored(images)
    for name, estimate in one.measured().items():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.value == one.metrics()[name]
    assert set(one.difference(one).values()) == {(0, 0, 0)}
    worse = scored([(t, f._replace(masks=np.roll(f.masks, 12, 1))) for t, f in images])
    difference = worse.difference(one)["instance/ap_mask"]
    assert difference.high < 0
    value = worse.metrics()["instance/ap_mask"] - one.metrics()["instance/ap_mask"]
    assert difference.value == pytest.approx(value)
    with pytest.raises(UserError, match="different images"):
        one.difference(scored(images[1:]))


def outputs_of(images) -> Outputs:
    """Those of a model that finds every instance of the first image that has some."""
    truth = next(truth for truth, _ in images if len(truth.masks) > 1)
    classes = np.full((len(truth.masks), len(CLASSES) + 1), -9.0, np.float32)
    classes[np.arange(len(truth.masks)), truth.categories] = 9
    return truth, Outputs(classes, np.where(truth.masks, 9, -9).astype(np.float32))


def test_outputs_become_instances(images):
    truth, outputs = outputs_of(images)
    scorer = InstanceScorer("some", CLASSES)
    scorer.add(truth, outputs)
    assert scorer.metrics()["instance/ap_mask"] > 0.99


def test_errors_are_one_line(images):
    truth, outputs = outputs_of(images)
    scorer = InstanceScorer("some", CLASSES)
    with pytest.raises(UserError, match="^some has no instance to score"):
        scorer.metrics()
    scorer.add_measured(
        scorer.measure_prediction(truth._replace(crowd=truth.crowd | True), images[0][1])
    )
    with pytest.raises(UserError, match="^some has no instance to score, other than crowds"):
        scorer.measured()
    with pytest.raises(UserError, match="predicts 3 classes, and some has 4"):
        scorer.add(truth, outputs._replace(class_logits=outputs.class_logits[:, 1:]))
    outputs.mask_logits[0, 0, 0] = np.nan
    with pytest.raises(UserError, match=rf"^{truth.name}: .*training has diverged"):
        scorer.add(truth, outputs)
    with pytest.raises(UserError, match="cannot be scored with task=instance"):
        scorer.add(truth, np.zeros((SIDE, SIDE), np.int16))


def test_nothing_is_printed(images, capfd):
    scored(images).measured()
    assert capfd.readouterr() == ("", "")


@pytest.mark.processes
def test_without_pycocotools_one_line_names_the_requirements():
    code = (
        "import sys; sys.modules['pycocotools'] = None\n"
        "from rats_jax.segmentation.instance_scores import InstanceScorer\n"
        "from rats_jax.errors import UserError\n"
        "try: InstanceScorer('some', ('a',))\n"
        "except UserError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install -r requirements-finetune.txt" in found.stdout
