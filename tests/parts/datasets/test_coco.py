"""COCO's instances and panoptic maps, laid out as they are when unpacked."""

import pickle

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, open_dataset
from tests.parts.datasets.written import (
    HEIGHT,
    SIZE,
    WIDTH,
    box,
    compressed_rle,
    rle,
    write_image,
    write_json,
    write_rgb_ids,
)

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 184, "name": "tree"}]
RECTANGLE = [[3, 2, 9, 2, 9, 7, 3, 7]]


def record(id: int) -> dict:
    return {"id": id, "file_name": f"{id:012}.jpg", "height": HEIGHT, "width": WIDTH}


def thing(id: int, image: int, segmentation, category=1, crowd=0) -> dict:
    return {
        "id": id,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": crowd,
        "area": 1.0,
        "bbox": [0, 0, 1, 1],
    }


def write_instances(root, annotations, images=(7,), split="val2017"):
    for id in images:
        write_image(root / split / f"{id:012}.jpg")
    content = {"images": [*map(record, images)], "annotations": annotations}
    write_json(root / f"annotations/instances_{split}.json", content | {"categories": CATEGORIES})


def test_instances_are_painted_by_area_over_background(tmp_path):
    annotations = [
        thing(50, 7, [[3, 3, 5, 3, 5, 5, 3, 5]], category=18),  # small, on the next
        thing(51, 7, RECTANGLE),
        thing(52, 7, compressed_rle(box(0, 0, 1, 4))),
        thing(900, 7, rle(box(0, 0, 4, 11)), crowd=1),
        thing(53, 6, RECTANGLE),
    ]
    write_instances(tmp_path, annotations, images=(7, 6, 5))
    dataset = open_dataset(f"coco-instances:{tmp_path}")
    assert dataset.name == "coco-instances-val2017"
    assert [entry.name for entry in dataset.entries] == ["000000000006.jpg", "000000000007.jpg"]
    assert "1 images without an annotation are left out" in dataset.flattening
    sample = pickle.loads(pickle.dumps(dataset)).sample(1)
    expected = np.zeros(SIZE, int)
    expected[:4] = VOID  # the crowd
    expected[2:7, 3:9] = 2
    expected[3:5, 3:5] = 1
    expected[0, :4] = 3
    np.testing.assert_array_equal(sample.mask, expected)
    assert sample.labels == {0: "background", 1: "dog", 2: "person", 3: "person"}
    assert (sample.group, sample.mask.dtype) == (None, np.int32)
    np.testing.assert_array_equal(dataset.sample(0).mask, box(2, 3, 7, 9))


@pytest.mark.parametrize("images", ["train2017", "images/train2017", "images", ""])
def test_instances_are_found_from_any_path_to_them(tmp_path, images):
    write_instances(tmp_path, [thing(1, 7, RECTANGLE)], split="train2017")
    folder = tmp_path / images
    if images != "train2017":
        folder.mkdir(exist_ok=True, parents=True)
        (tmp_path / "train2017/000000000007.jpg").rename(folder / "000000000007.jpg")
        (tmp_path / "train2017").rmdir()
    paths = ["annotations/instances_train2017.json"]
    for path in paths + [images] * images.endswith("2017"):
        dataset = open_dataset(f"coco-instances:{tmp_path / path}")
        assert (dataset.name, len(dataset)) == ("coco-instances-train2017", 1)
        assert dataset.sample(0).mask.max() == 1


@pytest.mark.parametrize(
    ("annotation", "line"),
    [
        (thing(1, 7, RECTANGLE, category=2), "annotation 1 has category 2, which its categories"),
        (thing(1, 7, {"size": [9, 11], "counts": "0"}), "annotation 1 has a corrupt RLE: its runs"),
        (thing(1, 7, rle(box(0, 0, 1, 1, (9, 9)))), r"annotation 1 has size \[9, 9\], but the"),
        (thing(1, 7, [[1, 2] * 3 + [1]]), "json: annotation 1 has a polygon that is not"),
    ],
)
def test_a_broken_annotation_is_told_when_the_sample_is_asked_for(tmp_path, annotation, line):
    write_instances(tmp_path, [annotation, thing(2, 6, RECTANGLE)], images=(6, 7))
    dataset = open_dataset(f"coco-instances:{tmp_path}")
    assert dataset.sample(0).mask.max() == 1
    with pytest.raises(UserError, match=line):
        dataset.sample(1)


def test_an_image_of_another_size_or_missing_is_told(tmp_path):
    write_instances(tmp_path, [thing(1, 7, RECTANGLE), thing(2, 8, RECTANGLE)], images=(7, 8))
    write_image(tmp_path / "val2017/000000000007.jpg", (18, 22))
    (tmp_path / "val2017/000000000008.jpg").unlink()
    dataset = open_dataset(f"coco-instances:{tmp_path}")
    with pytest.raises(UserError, match=r"000000000007.jpg is 11 x 9 pixels, and .* is 22 x 18"):
        dataset.sample(0)
    with pytest.raises(UserError, match=r"000000000008.jpg cannot be read \(No such file"):
        dataset.sample(1)


def test_a_file_that_is_not_cocos_cannot_be_opened(tmp_path):
    with pytest.raises(
        UserError, match=r"does not contain annotations/instances_val2017.json; give"
    ):
        open_dataset(f"coco-instances:{tmp_path}")
    write_instances(tmp_path, [])
    with pytest.raises(UserError, match="annotates no object"):
        open_dataset(f"coco-instances:{tmp_path}")
    (tmp_path / "val2017/000000000007.jpg").unlink()
    with pytest.raises(UserError, match="lists 1 images, and none is in .*val2017/, .*put them"):
        open_dataset(f"coco-instances:{tmp_path}")
    file = tmp_path / "annotations/instances_val2017.json"
    for content, line in (
        ("[]", "does not have the layout of COCO: it is not an object; download it again"),
        ('{"images": []}', "does not have the layout of COCO: it has no list 'annotations'"),
        (
            '{"images": {}, "annotations": []}',
            "does not have the layout of COCO: it has no list 'images'",
        ),
        ('{"im', "is not JSON .*again$"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=f"instances_val2017.json {line}"):
            open_dataset(f"coco-instances:{tmp_path}")


SEGMENTS = [
    {"id": 3226956, "category_id": 1, "iscrowd": 0},
    {"id": 256, "category_id": 18, "iscrowd": 1},
    {"id": 5, "category_id": 184, "iscrowd": 0},
]


def write_panoptic(root, pngs, ids, segments=SEGMENTS):
    write_image(root / "val2017/000000000007.jpg")
    write_rgb_ids(root / pngs / "000000000007.png", ids)
    annotation = {"image_id": 7, "file_name": "000000000007.png", "segments_info": segments}
    content = {"images": [record(7), record(9)], "annotations": [annotation]}
    write_json(root / "annotations/panoptic_val2017.json", content | {"categories": CATEGORIES})


@pytest.mark.parametrize("pngs", ["panoptic_val2017", "annotations/panoptic_val2017"])
def test_panoptic_ids_are_of_three_bytes(tmp_path, pngs):
    ids = np.full(SIZE, 3226956)
    ids[:, :2], ids[:, 2:4], ids[:, 4:6] = 0, 256, 5
    write_panoptic(tmp_path, pngs, ids)
    for path in (tmp_path, tmp_path / "val2017", tmp_path / pngs):
        dataset = open_dataset(f"coco-panoptic:{path}")
        assert (dataset.name, len(dataset)) == ("coco-panoptic-val2017", 2)
    sample = pickle.loads(pickle.dumps(dataset)).sample(0)
    np.testing.assert_array_equal(sample.mask, np.where((ids == 0) | (ids == 256), VOID, ids))
    assert sample.labels == {3226956: "person", 256: "dog", 5: "tree"}
    with pytest.raises(UserError, match="json lists 000000000009.jpg without an annotation"):
        dataset.sample(1)


def test_broken_panoptic_maps_are_told(tmp_path):
    pngs = "panoptic_val2017"
    write_panoptic(tmp_path, pngs, np.full(SIZE, 6))
    spec = f"coco-panoptic:{tmp_path}"
    with pytest.raises(UserError, match=r"007.png holds segment id 6, which .*json does not list"):
        open_dataset(spec).sample(0)
    write_panoptic(tmp_path, pngs, np.full((3, 4), 5))
    with pytest.raises(UserError, match=r"007.png is 4 x 3 pixels, and .*007.jpg is 11 x 9; give"):
        open_dataset(spec).sample(0)
    write_panoptic(tmp_path, pngs, np.full(SIZE, 5), [{"id": 5, "category_id": 2}])
    with pytest.raises(UserError, match="segment 5 of 000000000007.jpg has category 2, which"):
        open_dataset(spec).sample(0)
    (tmp_path / pngs / "000000000007.png").unlink()
    (tmp_path / pngs).rmdir()
    with pytest.raises(UserError, match=r"no folder .*; unpack panoptic_val2017.zip there"):
        open_dataset(spec)
