"""The pipeline of pretraining with images and their truth: the same batches for any workers, from
any step, and with images that cannot be read."""

import numpy as np
import pytest

from rats_jax.data.pipeline import open_batches
from rats_jax.segmentation.datasets import SegmentationSource, open_segmentation
from rats_jax.segmentation.samples import InstanceSamples, SemanticSamples
from tests.parts.datasets.test_coco import RECTANGLE, thing, write_instances
from tests.parts.datasets.written import SIZE, write_ids, write_image

SAMPLES = {
    "semantic": SemanticSamples(crop=48),
    "instance": InstanceSamples(crop=48, most_instances=7, color=True),
}


def batches(source, samples, count: int, *, start=0, workers=0, threads=2, rows=None) -> list[dict]:
    stream = open_batches(
        source,
        samples=samples,
        seed=5,
        batch_size=6,
        start_step=start,
        workers=workers,
        threads=threads,
        rows=rows,
    )
    with stream:
        return [{key: np.copy(of) for key, of in next(stream).items()} for _ in range(count)]


def check_same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("task", SAMPLES)
def test_batches_depend_on_seed_and_step_alone(task):
    source = SegmentationSource(open_segmentation("procedural_parts:20@3", task=task))
    whole = batches(source, SAMPLES[task], 4)
    resumed = batches(source, SAMPLES[task], 2, start=2, threads=1)
    for one, other in zip(whole[2:], resumed, strict=True):
        check_same(one, other)
    share = batches(source, SAMPLES[task], 1, start=3, rows=[1, 4])[0]
    for name in SAMPLES[task].fields:
        np.testing.assert_array_equal(share[name], whole[3][name][[1, 4]])
    assert not np.array_equal(whole[0]["image"], whole[1]["image"])


@pytest.mark.processes
@pytest.mark.parametrize("task", SAMPLES)
def test_batches_of_workers_are_the_same(task):
    source = SegmentationSource(open_segmentation("procedural_parts:20@3", task=task))
    inside, outside = (batches(source, SAMPLES[task], 3, workers=count) for count in (0, 2))
    for one, other in zip(inside, outside, strict=True):
        check_same(one, other)


def test_images_that_cannot_be_used_are_replaced_and_named(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 4:] = 1
    for name in "abcd":
        write_image(tmp_path / f"images/{name}.png")
        write_ids(tmp_path / f"masks/{name}.png", mask)
    (tmp_path / "images/b.png").write_bytes(b"no picture")
    write_ids(tmp_path / "masks/c.png", mask * 0)
    found = open_segmentation(f"folder:{tmp_path}", task="semantic", void=0, classes=("1",))
    batch = batches(SegmentationSource(found), SAMPLES["semantic"], 1)[0]
    assert set(batch["index"]) == {0, 3} and batch["replaced"] >= 2
    unreadable = batch["unreadable"].item()
    assert "b.png is not a readable image" in unreadable[1]
    assert unreadable[2] == "no pixel is labelled"
    assert all((labels >= 0).any() for labels in batch["labels"])


def test_crowds_and_empty_masks_are_never_targets(tmp_path):
    objects = [
        thing(1, 7, RECTANGLE),
        thing(2, 7, RECTANGLE, category=18, crowd=1),
        thing(3, 6, RECTANGLE, crowd=1),
    ]
    write_instances(tmp_path, objects, images=(7, 6))
    source = SegmentationSource(open_segmentation(f"coco-instances:{tmp_path}", task="instance"))
    batch = batches(source, SAMPLES["instance"], 2)[1]
    masks = np.unpackbits(batch["masks"], axis=-1, count=48)
    assert set(np.unique(batch["categories"])) <= {-1, 0}
    np.testing.assert_array_equal(masks.any((2, 3)), batch["categories"] >= 0)
    assert (batch["categories"][:, 0] == 0).mean() > 0.6
