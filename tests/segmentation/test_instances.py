"""Instances: COCO's files compared with pycocotools, and connected components with scipy."""

import contextlib
import io
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage

from rats_jax.data.decode import ORIENTATION, UnreadableImage
from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID
from rats_jax.segmentation.components import MOST, components
from rats_jax.segmentation.datasets import SegmentationSource, open_both, open_segmentation
from tests.parts.datasets.test_coco import CATEGORIES, RECTANGLE, record, thing, write_instances
from tests.parts.datasets.written import (
    SIZE,
    box,
    compressed_rle,
    rle,
    write_ids,
    write_image,
    write_json,
    write_rgb_ids,
)

OBJECTS = [
    thing(50, 7, [[3, 3, 5, 3, 5, 5, 3, 5], [6.2, 1, 9, 1.4, 8, 4]], category=184),
    thing(51, 7, RECTANGLE),
    thing(52, 7, compressed_rle(box(0, 0, 1, 4)), category=18),
    thing(900, 7, rle(box(0, 0, 4, 11)), crowd=1),
    thing(53, 6, rle(box(1, 1, 3, 3))),
    thing(54, 4, RECTANGLE, crowd=1),
]


def test_masks_are_those_of_pycocotools(tmp_path):
    write_instances(tmp_path, OBJECTS, images=(7, 6, 5, 4))
    found = open_segmentation(f"coco-instances:{tmp_path}", task="instance")
    assert found.classes == ("person", "dog", "tree") and found.ids == (1, 18, 184)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "annotations/instances_val2017.json"))
    assert found.files == [f"{id:012}.jpg" for id in (4, 5, 6, 7)]  # 5 has no annotation
    for i, id in enumerate((4, 5, 6, 7)):
        sample, annotations = found.sample(i), theirs.loadAnns(theirs.getAnnIds(id))
        assert sample.masks.shape == (len(annotations), *SIZE) and sample.masks.dtype == bool
        for mask, annotation in zip(sample.masks, annotations, strict=True):
            np.testing.assert_array_equal(mask, theirs.annToMask(annotation) == 1)
        categories = [annotation["category_id"] for annotation in annotations]
        assert np.array(found.ids)[sample.categories].tolist() == categories
        assert sample.crowd.tolist() == [a["iscrowd"] == 1 for a in annotations]
        assert sample.categories.dtype == np.int16 and sample.labels is None


def test_images_without_an_object_are_scored_and_not_trained_on(tmp_path):
    write_instances(tmp_path, OBJECTS, images=(7, 6, 5, 4))
    found = open_segmentation(f"coco-instances:{tmp_path}", task="instance")
    source = pickle.loads(pickle.dumps(SegmentationSource(found)))
    assert len(found) == 4 and source.files == ["000000000006.jpg", "000000000007.jpg"]
    assert (
        source.notes[-1]
        == "2 of 4 images have nothing of the classes, and are not used for training"
    )
    assert source[1][0].masks.shape[0] == 4 and source.fingerprint() != found.fingerprint()


def test_some_categories(tmp_path):
    write_instances(tmp_path, OBJECTS, images=(7, 6))
    spec = f"coco-instances:{tmp_path}"
    found = open_segmentation(spec, task="instance", classes=("tree", "18"))
    assert found.classes == ("tree", "dog") and found.ids == (184, 18)
    assert found.sample(1).categories.tolist() == [0, 1] and len(found.sample(0).masks) == 0
    assert len(SegmentationSource(found)) == 1
    with pytest.raises(UserError, match=r"'person1'.*did you mean 'person'.*person \(1\)"):
        open_segmentation(spec, task="instance", classes=("person1",))
    write_instances(tmp_path, OBJECTS[1:2], images=(7,))
    with pytest.raises(UserError, match="no object with a mask of classes 184"):
        open_segmentation(spec, task="instance", classes=("tree",))


def test_masks_of_images_that_exif_turns(tmp_path):
    write_instances(tmp_path, OBJECTS[2:3], images=(7,))
    stored = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(stored).save(tmp_path / f"val2017/{7:012}.jpg", exif=exif)
    sample = open_segmentation(f"coco-instances:{tmp_path}", task="instance").sample(0)
    assert sample.image.shape[:2] == SIZE[::-1]
    np.testing.assert_array_equal(sample.masks[0], np.rot90(box(0, 0, 1, 4), -1))


def test_an_unknown_category_is_reported_with_its_image(tmp_path):
    write_instances(tmp_path, [OBJECTS[4], thing(60, 7, RECTANGLE, category=5)], images=(7, 6))
    with pytest.raises(UserError, match=r"annotation 60 of 0+7\.jpg has category 5"):
        open_segmentation(f"coco-instances:{tmp_path}", task="instance")


def test_all_images_empty(tmp_path):
    write_instances(tmp_path, [], images=(7, 6))
    with pytest.raises(UserError, match="annotates no object with a mask"):
        open_segmentation(f"coco-instances:{tmp_path}", task="instance")
    write_instances(tmp_path, [thing(1, 7, rle(box(0, 0, 0, 0)))], images=(7,))
    source = SegmentationSource(open_segmentation(f"coco-instances:{tmp_path}", task="instance"))
    with pytest.raises(UnreadableImage, match="no instance"):
        source[0]


def test_a_test_set_with_other_categories(tmp_path):
    for split in ("train", "val"):
        write_instances(tmp_path / split, OBJECTS, images=(7, 6))
    content = {"images": [record(7)], "annotations": OBJECTS[1:2]}
    other = [*CATEGORIES[:2], {"id": 184, "name": "bush"}]
    write_json(tmp_path / "val/annotations/instances_val2017.json", content | {"categories": other})
    specs = [f"coco-instances:{tmp_path / split}" for split in ("train", "val")]
    with pytest.raises(UserError, match=r"config\.data\.test .* has class 184 \(bush\)"):
        open_both(*specs, task="instance")
    train, test = open_both(*specs, task="instance", classes=("person", "dog"))
    assert train.classes == test.classes == ("person", "dog") and not test.notes


def test_a_kind_of_the_other_task(tmp_path):
    for task, kind in (("semantic", "coco-instances"), ("instance", "coco-panoptic")):
        with pytest.raises(UserError, match=f"--task={task} does not accept {kind}; it accepts"):
            open_segmentation(f"{kind}:{tmp_path}", task=task)
    with pytest.raises(UserError, match="does not exist"):
        open_segmentation(f"coco-instances:{tmp_path / 'none'}", task="instance")


def test_panoptic_segments_give_their_categories(tmp_path):
    write_image(tmp_path / "val2017/a.jpg")
    ids = np.zeros(SIZE, int)
    ids[:4], ids[4:6], ids[6], ids[7] = 70_000, 5, 6, 7
    write_rgb_ids(tmp_path / "panoptic_val2017/a.png", ids)
    segments = [(70_000, 184, 0), (5, 1, 0), (6, 184, 0), (7, 18, 1)]
    annotation = {
        "image_id": 1,
        "file_name": "a.png",
        "segments_info": [
            {"id": id, "category_id": category, "iscrowd": crowd}
            for id, category, crowd in segments
        ],
    }
    content = {"images": [record(1) | {"file_name": "a.jpg"}], "annotations": [annotation]}
    write_json(tmp_path / "annotations/panoptic_val2017.json", content | {"categories": CATEGORIES})
    found = open_segmentation(f"coco-panoptic:{tmp_path}", task="semantic")
    assert found.classes == ("person", "dog", "tree")
    assert found.sample(0).labels[:, 0].tolist() == [2] * 4 + [0, 0, 2, VOID, VOID]


def test_components_are_those_of_scipy():
    labels = np.random.default_rng(0).choice([VOID, 0, 1, 2], (16, 20), p=[0.4, 0.2, 0.2, 0.2])
    labels = labels.repeat(3, 0).astype(np.int16)
    masks, categories = components(labels)
    found = {(category, mask.tobytes()) for mask, category in zip(masks, categories, strict=True)}
    expected = set()
    for category in range(3):
        numbers, count = ndimage.label(labels == category, np.ones((3, 3)))
        expected |= {(category, (numbers == i).tobytes()) for i in range(1, count + 1)}
    assert found == expected and len(masks) == len(expected)


def test_components_of_void_and_of_noise():
    masks, categories = components(np.full((4, 5), VOID, np.int16))
    assert masks.shape == (0, 4, 5) and categories.shape == (0,)
    labels = np.full((64, 64), VOID, np.int16)
    labels[::2, ::2] = 1  # 1,024 pixels apart
    labels[:6, :6] = 0
    masks, categories = components(labels)
    assert len(masks) == MOST and (categories == 0).sum() == 1


def test_background_of_masks_is_no_instance(tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[1:3, 1:3], mask[6:8, 2:9] = 5, 5
    write_image(tmp_path / "images/a.png")
    write_ids(tmp_path / "masks/a.png", mask)
    found = open_segmentation(f"folder:{tmp_path}", task="instance")
    assert found.ids == (5,) and found.sample(0).masks.sum((1, 2)).tolist() == [4, 14]
    assert "connected component" in found.about["rule"]
    listed = open_segmentation(f"folder:{tmp_path}", task="instance", classes=("0", "5"))
    assert listed.sample(0).categories.tolist() == [0, 1, 1]
    write_ids(tmp_path / "masks/a.png", mask * 0)
    with pytest.raises(UserError, match="no class"):
        open_segmentation(f"folder:{tmp_path}", task="instance")
