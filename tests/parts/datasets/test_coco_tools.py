"""COCO as tools write it: what cannot be used is left out and counted, and the rest is read."""

import re

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, open_dataset
from rats_jax.parts.datasets.rle import decode_rle
from tests.parts.datasets.test_coco import CATEGORIES, RECTANGLE, record, thing
from tests.parts.datasets.written import (
    HEIGHT,
    SIZE,
    WIDTH,
    box,
    compressed_rle,
    rle,
    runs,
    write_image,
    write_json,
    write_rgb_ids,
)

FILE = "annotations/instances_val2017.json"
SHAPE = box(2, 3, 7, 9)  # what RECTANGLE draws


def write(root, annotations, images=None, **more):
    """Two images, 6 and 7, of which 6 has an object whatever the annotations are."""
    for id in (6, 7):
        write_image(root / f"val2017/{id:012}.jpg")
    content = {"images": images or [record(6), record(7)], "categories": CATEGORIES}
    content["annotations"] = [thing(99, 6, RECTANGLE), *annotations]
    write_json(root / FILE, content | more)
    return open_dataset(f"coco-instances:{root}")


def without(fields, **others):
    return {k: v for k, v in (thing(1, 7, RECTANGLE) | others).items() if k not in fields.split()}


@pytest.mark.parametrize(
    "annotation, counted",
    [
        (without("segmentation"), "1 annotations without a mask"),
        (thing(1, 7, None), "1 annotations without a mask"),
        (thing(1, 7, []), "1 annotations without a mask"),
        (thing(1, 7, {}), "1 annotations without a mask"),
        (thing(1, 7, ""), "1 annotations without a mask"),
        (
            thing(1, 7, [[1, 2], [3, 4, 5, 6]]),
            "2 polygons of fewer than three points, 1 annotations without a mask",
        ),
        (thing(1, 8, RECTANGLE), "1 annotations of images that are left out or not listed"),
        (without("image_id"), "1 annotations of images that are left out or not listed"),
        ("text", "1 annotations of images that are left out or not listed"),
        (thing(1, 7, RECTANGLE, crowd="maybe"), "1 annotations whose iscrowd is neither 0 nor 1"),
        (thing(1, 7, RECTANGLE, crowd=[1]), "1 annotations whose iscrowd is neither 0 nor 1"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(tmp_path, annotation, counted):
    dataset = write(tmp_path, [annotation])
    assert dataset.notes == [f"warning: left out of {tmp_path / FILE}: {counted}"]
    assert [entry.name for entry in dataset.entries] == ["000000000006.jpg"]
    assert "1 images without an annotation are left out" in dataset.flattening
    np.testing.assert_array_equal(dataset.sample(0).mask, SHAPE)


def floats(mask):
    return {"size": [float(HEIGHT), float(WIDTH)], "counts": [float(n) for n in runs(mask)]}


def as_text(mask):
    """What str() makes of the bytes that pycocotools gives."""
    rle = compressed_rle(mask)
    return {"size": [str(HEIGHT), str(WIDTH)], "counts": str(rle["counts"].encode())}


@pytest.mark.parametrize(
    "annotation",
    [
        without("category_id"),
        without("id area bbox iscrowd"),
        thing(1, "7", RECTANGLE, category="1", crowd="0"),
        thing(1, 7.0, RECTANGLE, crowd=0.0),
        thing("a", 7, RECTANGLE, crowd=False),
        thing(1, 7, RECTANGLE, crowd="false"),
        thing(1, 7, RECTANGLE, crowd=None),
        thing(1, 7, RECTANGLE[0]),  # not in a list
        thing(1, 7, [RECTANGLE[0][i : i + 2] for i in range(0, 8, 2)]),  # points
        thing(1, 7, [[str(x) for x in RECTANGLE[0]]]),
        thing(1, 7, [*RECTANGLE, [5, 5]]),
        thing(1, 7, floats(SHAPE)),
        thing(1, 7, as_text(SHAPE)),
    ],
)
def test_an_object_is_read_however_it_is_written(tmp_path, annotation):
    dataset = write(tmp_path, [annotation])
    np.testing.assert_array_equal(dataset.sample(1).mask, SHAPE)
    strays = len(annotation.get("segmentation", [])) == 2 and not isinstance(
        annotation["segmentation"], dict
    )
    assert bool(dataset.notes) == strays


def test_a_string_of_bytes_may_hold_a_backslash():
    size = (60, 50)
    texts = (compressed_rle(box(0, 3, 60, 3 + width, size))["counts"] for width in range(1, 40))
    counts = next(text for text in texts if "\\" in text)
    written = str(counts.encode())
    assert "\\\\" in written
    np.testing.assert_array_equal(decode_rle(written, size), decode_rle(counts, size))


def test_bare_files_are_read(tmp_path):
    """No sizes, no categories, no info; and ids as text with zeros."""
    images = [
        {"id": "000000000006", "file_name": "000000000006.jpg"},
        {"id": "000000000007", "file_name": "000000000007.jpg", "height": 0, "width": None},
    ]
    dataset = write(tmp_path, [thing(1, "7", RECTANGLE)], images, categories=None)
    assert [dataset.sample(i).labels for i in (0, 1)] == [{0: "background", 1: ""}] * 2
    np.testing.assert_array_equal(dataset.sample(1).mask, SHAPE)
    sizes = {"height": str(HEIGHT), "width": float(WIDTH)}
    dataset = write(tmp_path, [thing(1, 7, RECTANGLE)], [record(6), record(7) | sizes])
    np.testing.assert_array_equal(dataset.sample(1).mask, SHAPE)


@pytest.mark.parametrize(
    "name",
    [
        "val2017/000000000007.jpg",
        "val2017\\000000000007.jpg",
        "C:\\Users\\me\\set\\val2017\\000000000007.jpg",
        "/home/me/set/images/000000000007.jpg",
        "./000000000007.jpg",
        "http://images.cocodataset.org/val2017/000000000007.jpg",
    ],
)
def test_an_image_is_found_whatever_folders_its_name_has(tmp_path, name):
    for field in ("file_name", "coco_url"):
        image = {k: v for k, v in record(7).items() if k != "file_name"} | {field: name}
        dataset = write(tmp_path, [thing(1, 7, RECTANGLE)], [record(6), image])
        assert dataset.notes == []
        found = next(entry for entry in dataset.entries if entry.name == name.replace("\\", "/"))
        assert found.image == tmp_path / "val2017/000000000007.jpg"


@pytest.mark.parametrize(
    "name, file",
    [
        ("my%20pic.jpg", "my pic.jpg"),
        ("a%20b.jpg", "a%20b.jpg"),
        ("https://x.org/a/7.jpg?token=3/4", "7.jpg"),
        ("https://x.org/a/my%20pic.jpg#top", "my pic.jpg"),
        (" 7.jpg ", "7.jpg"),
        ("what?.jpg", "what?.jpg"),
    ],
)
def test_an_image_is_found_however_its_name_is_written(tmp_path, name, file):
    write_image(tmp_path / "val2017" / file)
    images = [record(6), record(7) | {"file_name": name}]
    dataset = write(tmp_path, [thing(1, 7, RECTANGLE)], images)
    assert dataset.notes == []
    found = next(entry for entry in dataset.entries if entry.name == name)
    assert found.image == tmp_path / "val2017" / file


def found_alike(root, names, files):
    """The names that get a file, and the notes; one image has its own, 000000000006.jpg."""
    for file in files:
        write_image(root / "val2017" / file)
    images = [record(6), *({"id": 10 + i, "file_name": name} for i, name in enumerate(names))]
    things = [thing(10 + i, 10 + i, RECTANGLE) for i in range(len(names))]
    dataset = write(root, things, images)
    files = {entry.name: entry.image.name for entry in dataset.entries if entry.image.is_file()}
    del files["000000000006.jpg"]
    return files, dataset.notes


@pytest.mark.parametrize("name", ["A.JPG", "a.jpeg", "A.png", "a", "x/A"])
def test_an_image_is_found_by_another_case_or_ending(tmp_path, name):
    files, notes = found_alike(tmp_path, [name], ["a.jpg", "a.v1.jpg", "b.jpg"])
    assert files == {name: "a.jpg"}
    assert len(notes) == 1
    assert notes[0].startswith(
        "1 images were found under names with another case or extension, such as /"
    )
    assert notes[0].endswith(f"val2017/a.jpg for {name}")


def test_case_counts_before_the_ending(tmp_path):
    assert found_alike(tmp_path, ["A.jpeg"], ["a.png", "a.jpg"])[0] == {"A.jpeg": "a.jpg"}


@pytest.mark.parametrize(
    "names, files, found",
    [
        (["a.webp"], ["a.png", "a.jpg"], {}),  # not the only one
        (["a.jpg", "A.JPG"], ["a.jpg"], {"a.jpg": "a.jpg"}),  # another's own
        (["a.JPG", "A.jpg"], ["a.jpg"], {}),  # both or neither
    ],
)
def test_an_image_is_never_guessed_among_several(tmp_path, names, files, found):
    files, notes = found_alike(tmp_path, names, files)
    assert files == found
    shared = [note for note in notes if "2 images that share their id or their file" in note]
    assert bool(shared) == (names == ["a.JPG", "A.jpg"])


def test_images_that_are_all_left_out_are_counted_with_the_reason(tmp_path):
    write_image(tmp_path / "val2017/1.jpg")

    def refused(images, annotations=()):
        write_json(tmp_path / FILE, {"images": images, "annotations": list(annotations)})
        with pytest.raises(UserError) as error:
            open_dataset(f"coco-instances:{tmp_path}")
        return str(error.value)

    images = [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "b/1.jpg"}]
    assert refused(images) == (
        f"{tmp_path / FILE} lists 2 images (left out: 2 images that share their id or their file "
        f"with another, such as a/1.jpg ({tmp_path}/val2017/1.jpg)): none can be used; give each "
        "image its own id and its own file"
    )
    line = refused([{"id": True, "file_name": "1.jpg"}, {"id": float("inf"), "file_name": "1.jpg"}])
    assert "lists 2 images (left out: 2 images without an id (a number or text) or a" in line
    line = refused([*images, {"id": 3, "file_name": "pic_1.jpg"}])
    assert "lists 3 images (left out: 2 images" in line and "and none of the others is in" in line
    write_image(tmp_path / "val2017/pic-1.jpg")
    line = refused([{"id": 3, "file_name": "pic_1.jpg"}])
    assert "lists 1 images, and none is in" in line
    folder = f"{tmp_path}/val2017"
    assert line.endswith(
        f"as {folder}/pic_1.jpg, or, if {folder}/pic-1.jpg is this image, rename it"
    )
    line = refused([*images, {"id": 3, "file_name": "pic-1.jpg"}], [thing(1, 1, RECTANGLE)])
    assert (
        "none of its 1 annotations belongs to an image that it lists and that is used (left" in line
    )


def test_names_with_backslashes_or_accents_apart_are_names_too(tmp_path):
    names = {7: "a\\7.jpg", 8: "cafe\u0301.jpg"}
    write_image(tmp_path / "val2017/a\\7.jpg")
    write_image(tmp_path / "val2017/caf\u00e9.jpg")
    images = [record(6), *(record(id) | {"file_name": name} for id, name in names.items())]
    dataset = write(tmp_path, [thing(1, 7, RECTANGLE), thing(2, 8, RECTANGLE)], images)
    assert len(dataset) == 3 and all(dataset.sample(i).mask.any() for i in range(3))


def test_images_that_cannot_be_told_apart_are_left_out(tmp_path):
    """Two of one id, two of one file; and the same record twice, which is no harm."""
    write_image(tmp_path / "val2017/8.jpg")
    images = [
        *(record(6), record(6), record(7), record(7) | {"file_name": "8.jpg"}),
        {"id": 8, "file_name": "a/8.jpg"},
        {"id": 9, "file_name": "b\\8.jpg"},
        {"file_name": "8.jpg"},
        {"id": 10},
        None,
    ]
    dataset = write(tmp_path, [thing(id, id, RECTANGLE) for id in (7, 8, 9)], images)
    assert [entry.name for entry in dataset.entries] == ["000000000006.jpg"]
    (note,) = dataset.notes
    assert "3 images without an id (a number or text) or a file_name" in note
    assert "4 images that share their id or their file with another" in note
    assert "3 annotations of images that are left out or not listed" in note


def test_a_file_of_boxes_is_refused_with_counts(tmp_path):
    write_image(tmp_path / "val2017/000000000007.jpg")
    annotations = [without("segmentation"), thing(2, 7, [])]
    content = {"images": [record(7)], "annotations": annotations}
    write_json(tmp_path / FILE, content)
    with pytest.raises(UserError, match="no object with a mask; 2 annotations without a mask;"):
        open_dataset(f"coco-instances:{tmp_path}")
    write_json(tmp_path / FILE, content | {"annotations": [thing(1, "7.jpg", RECTANGLE)]})
    with pytest.raises(
        UserError, match="none of its 1 annotations belongs to an image that it lists"
    ):
        open_dataset(f"coco-instances:{tmp_path}")


@pytest.mark.parametrize("crowd", [1, "1", True, 1.0, "true"])
def test_crowds_alone_leave_nothing_to_score(tmp_path, crowd):
    write(tmp_path, [])
    annotations = [thing(i, 7, rle(box(0, 0, i, 4)), crowd=crowd) for i in (1, 2, 3)]
    content = {"images": [record(7)], "annotations": annotations, "categories": CATEGORIES}
    write_json(tmp_path / FILE, content)
    with pytest.raises(UserError, match="3 of 3 objects are crowds .*void.* CVAT .* set it to 0"):
        open_dataset(f"coco-instances:{tmp_path}")


def test_many_crowds_are_warned_of_and_few_are_said(tmp_path):
    crowd = thing(1, 7, RECTANGLE, crowd=1)
    (note,) = write(tmp_path, [crowd, crowd]).notes
    assert note.startswith("warning: 2 of 3 objects are crowds (iscrowd 1), which are void; some")
    things = [thing(2, 7, rle(box(0, 0, 1, 4)))] * 18
    (note,) = write(tmp_path, [crowd, *things]).notes
    assert note == "1 of 20 objects are crowds (iscrowd 1), which are void"


def test_other_files_than_the_expected_one_are_named(tmp_path):
    write_json(tmp_path / "annotations/instances_default.json", {})
    with pytest.raises(UserError, match=r"but annotations/instances_default.json; give .* itself"):
        open_dataset(f"coco-instances:{tmp_path}")


@pytest.mark.parametrize("folder", ["", "set"])
def test_files_in_folders_below_are_named(tmp_path, folder):
    root = tmp_path / folder
    for split in ("train", "valid"):
        write_json(root / split / "_annotations.coco.json", {})
    first, second = (str(root / s / "_annotations.coco.json") for s in ("train", "valid"))
    names = ", ".join(name.removeprefix(f"{tmp_path}/") for name in (first, second))
    with pytest.raises(UserError, match=f"but {names}; give .* itself, such as {first}$"):
        open_dataset(f"coco-instances:{tmp_path}")


SEGMENTS = [{"id": 5, "category_id": 1}, {"id": 6, "category_id": 18}]


def write_panoptic(root, segments, annotation=(), images=(), **more):
    ids = np.full(SIZE, 5)
    ids[:, 4:] = 6
    write_image(root / "val2017/000000000007.jpg")
    write_rgb_ids(root / "panoptic_val2017/000000000007.png", ids)
    of_image = {"image_id": 7, "file_name": "000000000007.png", "segments_info": segments}
    content = {"images": [record(7), *images], "categories": CATEGORIES}
    content["annotations"] = [of_image | dict(annotation)]
    write_json(root / "annotations/panoptic_val2017.json", content | more)
    return open_dataset(f"coco-panoptic:{root}"), ids


@pytest.mark.parametrize(
    "segments, annotation",
    [
        (SEGMENTS, {"file_name": "panoptic_val2017\\000000000007.png"}),
        (SEGMENTS, {"file_name": None, "image_id": "7"}),
        (SEGMENTS, {"file_name": "000000000007.jpg"}),
        (SEGMENTS, {"file_name": "val2017/000000000007.JPEG"}),
        (SEGMENTS, {"file_name": "000000000007"}),
        (SEGMENTS, {"file_name": "000000000007.tif"}),
        ([{"id": "5", "iscrowd": "0"}, {"id": 6.0, "category_id": "18"}], {}),
    ],
)
def test_panoptic_maps_are_read_however_they_are_written(tmp_path, segments, annotation):
    dataset, ids = write_panoptic(tmp_path, segments, annotation)
    np.testing.assert_array_equal(dataset.sample(0).mask, ids)
    assert dataset.sample(0).labels[6] == "dog"


def test_the_image_beside_a_panoptic_map_is_not_the_map(tmp_path):
    image = {"file_name": "000000000007.jpg"}
    write_image(tmp_path / "panoptic_val2017/000000000007.jpg")
    dataset, ids = write_panoptic(tmp_path, SEGMENTS, image)
    np.testing.assert_array_equal(dataset.sample(0).mask, ids)
    (tmp_path / "panoptic_val2017/000000000007.png").unlink()
    with pytest.raises(UserError, match=r"panoptic_val2017/000000000007.jpg holds no ids; save"):
        open_dataset(f"coco-panoptic:{tmp_path}").sample(0)


def test_panoptic_crowds_are_void_and_counted(tmp_path):
    crowd = [SEGMENTS[0] | {"iscrowd": "1"}, SEGMENTS[1]]
    dataset, ids = write_panoptic(tmp_path, crowd)
    np.testing.assert_array_equal(dataset.sample(0).mask, np.where(ids == 5, VOID, ids))
    assert dataset.notes[0].startswith("warning: 1 of 2 segments are crowds")
    with pytest.raises(UserError, match="2 of 2 segments are crowds .*nothing is left to score"):
        write_panoptic(tmp_path, [segment | {"iscrowd": 1} for segment in SEGMENTS])


@pytest.mark.parametrize(
    "segments, counted",
    [
        (None, "1 images without segments_info"),
        ([{"category_id": 1}], "1 images with a segment without an id, or with an invalid iscrowd"),
        ([3], "1 images with a segment without an id"),
    ],
)
def test_an_image_without_segments_is_left_out_and_counted(tmp_path, segments, counted):
    write_image(tmp_path / "val2017/000000000008.jpg")
    write_rgb_ids(tmp_path / "panoptic_val2017/000000000008.png", np.full(SIZE, 5))
    of_other = {"image_id": 8, "file_name": "000000000008.png", "segments_info": SEGMENTS}
    of_first = {"image_id": 7, "file_name": "000000000007.png", "segments_info": segments}
    dataset, _ = write_panoptic(
        tmp_path, segments, images=[record(8)], annotations=[of_first, of_other, of_other]
    )
    assert [entry.name for entry in dataset.entries] == ["000000000008.jpg"]
    assert re.search(counted, dataset.notes[0])
    assert "1 further annotations of an image" in dataset.notes[0]
