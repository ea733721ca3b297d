"""Data sets of segmentation, read from small files in the layouts of their makers."""

import pickle

import numpy as np
import pytest

from rats_jax.data.decode import UnreadableImage
from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, open_dataset
from rats_jax.segmentation.datasets import SegmentationSource, open_both, open_segmentation
from tests.parts.datasets.written import SIZE, box, write_ids, write_image, write_rgb_ids


def write_folder(root, masks: dict[str, np.ndarray]):
    """A folder with the masks, by image; its specification."""
    for name, ids in masks.items():
        write_image(root / "images" / f"{name}.png", ids.shape)
        write_ids(root / "masks" / f"{name}.png", ids)
    return f"folder:{root}"


def ids(*values: int) -> np.ndarray:
    """A mask with these ids in columns."""
    return np.resize(np.array(values, np.uint8), SIZE[::-1]).T.copy()


def test_classes_of_a_folder_are_the_ids_of_all_masks(tmp_path):
    spec = write_folder(tmp_path, {"a": ids(3, 9), "b": ids(0, 9, 200)})
    found = open_segmentation(spec, task="semantic")
    assert (found.ids, found.classes) == ((0, 3, 9, 200), ("0", "3", "9", "200"))
    sample = found.sample(1)
    assert sample.labels.dtype == np.int16 and sample.name == "b.png"
    np.testing.assert_array_equal(np.array(found.ids)[sample.labels], ids(0, 9, 200))
    np.testing.assert_array_equal(sample.image, open_dataset(spec).sample(1).image)


def test_void_and_listed_classes(tmp_path):
    spec = write_folder(tmp_path, {"a": ids(3, 9, 200)})
    found = open_segmentation(spec, task="semantic", classes=("200", 3), void=9)
    np.testing.assert_array_equal(found.sample(0).labels[:3, 0], [1, VOID, 0])
    assert found.ids == (200, 3)
    assert open_segmentation(spec, task="semantic", void=9).ids == (3, 200)


def test_an_id_that_is_no_class_names_the_image_the_id_and_the_field(tmp_path):
    spec = write_folder(tmp_path, {"a": ids(3, 9)})
    found = open_segmentation(spec, task="semantic", classes=("3",))
    with pytest.raises(UserError, match=r"a\.png .* id 9.*config\.data\.classes.*void=9"):
        found.sample(0)
    with pytest.raises(UnreadableImage, match="id 9"):
        SegmentationSource(found)[0]


def test_drawings_have_all_parts_and_their_world_in_the_fingerprint():
    one = open_segmentation("procedural_parts:4@1", task="semantic")
    assert len(one.classes) == 41 and one.classes[40] == "background"
    drawn = open_dataset("procedural_parts:4@1").sample(2)
    np.testing.assert_array_equal(one.sample(2).labels, drawn.mask)
    other = open_segmentation("procedural_parts:4@2", task="semantic")
    assert one.fingerprint() != other.fingerprint()
    assert pickle.loads(pickle.dumps(one)).fingerprint() == one.fingerprint()
    assert one.limited(2).files == ["drawing 0", "drawing 2"]
    assert one.limited(2).fingerprint() != one.fingerprint()


def test_some_parts_of_drawings(tmp_path):
    found = open_segmentation("procedural_parts:8", task="semantic", classes=("40", "bird wing"))
    whole = open_segmentation("procedural_parts:8", task="semantic")
    for i in range(8):
        labels, mask = found.sample(i).labels, whole.sample(i).labels
        np.testing.assert_array_equal(labels == 0, mask == 40)
        np.testing.assert_array_equal(labels == VOID, (mask != 40) & (mask != 15))
    with pytest.raises(UserError, match=r"'bird wings'.*did you mean 'bird wing'"):
        open_segmentation("procedural_parts:8", task="semantic", classes=("bird wings",))


def test_the_test_set_may_lack_classes_and_may_not_have_others(tmp_path):
    train = write_folder(tmp_path / "train", {"a": ids(0, 1, 2)})
    few = write_folder(tmp_path / "few", {"a": ids(0, 2)})
    other = write_folder(tmp_path / "other", {"a": ids(0, 7)})
    _, test = open_both(train, few, task="semantic")
    assert test.ids == (0, 1, 2)
    np.testing.assert_array_equal(test.sample(0).labels[:2, 0], [0, 2])
    with pytest.raises(UserError, match=r"config\.data\.test \(other\) has class 7"):
        open_both(train, other, task="semantic")
    with pytest.raises(UserError, match=r"a\.png of other holds id 7.*config\.data\.classes"):
        open_both(train, other, task="semantic", classes=("0", "2", "1"))
    two = write_folder(tmp_path / "two", {"a": ids(0, 7), "b": ids(9)})
    with pytest.raises(UserError, match=r"ids 7, 9, .* first in a\.png: add them"):
        open_both(train, two, task="semantic", classes=("0", "2", "1"))
    for bad, problem in (
        ("bogus", r"'bogus' is not KIND:PATH; KIND is one of coco-instances, folder,"),
        ("coco-panoptic:x", "does not accept coco-panoptic"),
    ):
        with pytest.raises(UserError, match=rf"^config\.data\.test: .*{problem}") as error:
            open_both(train, bad, task="instance")
        assert "sam" not in str(error.value)
    _, same = open_both(train, train, task="semantic")
    assert same.notes == ("warning: 1 of 1 test images are also training images",)


def test_masks_without_classes(tmp_path):
    spec = write_folder(tmp_path, {"a": ids(0)})
    with pytest.raises(UserError, match="no class"):
        open_segmentation(spec, task="semantic", void=0)
    with pytest.raises(UserError, match="also one of"):
        open_segmentation(spec, task="semantic", void=0, classes=("0",))
    assert "one class alone, 0:" in open_segmentation(spec, task="semantic").notes[-1]


def test_an_image_of_void_alone_counts_as_unreadable(tmp_path):
    spec = write_folder(tmp_path, {"a": ids(0), "b": ids(0, 1)})
    found = open_segmentation(spec, task="semantic", void=0, classes=("1",))
    source = SegmentationSource(found)
    with pytest.raises(UnreadableImage, match="no pixel is labelled"):
        source[0]
    assert source[1][0].labels.max() == 0


@pytest.mark.parametrize(("task", "void"), [("semantic", 0), ("instance", None)])
def test_images_without_a_class_are_left_out_if_the_masks_were_read(tmp_path, task, void):
    masks = {"a": ids(0), "b": ids(0, 1), "c": ids(0), "d": ids(0, 2)}
    found = open_segmentation(write_folder(tmp_path, masks), task=task, void=void)
    source = SegmentationSource(found.limited(3))
    assert len(found) == 4 and found.limited(3).files == ["a.png", "b.png", "c.png"]
    assert source.files == ["b.png"] and source.notes[-1].startswith("2 of 3 images have nothing")


def test_broken_masks_are_reported_with_their_sample(tmp_path):
    spec = write_folder(tmp_path, {"a": ids(0, 1), "b": ids(0, 1)})
    (tmp_path / "masks/a.png").write_bytes(b"no picture")
    found = open_segmentation(spec, task="semantic")
    assert found.ids == (0, 1)
    with pytest.raises(UserError, match=r"a\.png is not a readable PNG"):
        found.sample(0)
    (tmp_path / "masks/b.png").unlink()
    with pytest.raises(UserError, match="no mask can be read"):
        open_segmentation(spec, task="semantic")


def test_ade20k(tmp_path):
    mask = np.where(box(2, 3, 6, 8), 150, 0).astype(np.uint8)
    mask[0] = 1
    write_image(tmp_path / "images/validation/ADE_val_00000001.jpg")
    write_ids(tmp_path / "annotations/validation/ADE_val_00000001.png", mask)
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t2\t3\twall\n150\t0.1\t2\t3\tflag\n"
    )
    found = open_segmentation(f"ade20k:{tmp_path}", task="semantic")
    assert len(found.classes) == 150 and found.ids == tuple(range(1, 151))
    assert (found.classes[0], found.classes[1], found.classes[149]) == ("wall", "2", "flag")
    np.testing.assert_array_equal(
        found.sample(0).labels, np.where(mask == 0, VOID, mask.astype(int) - 1)
    )


def test_partimagenet_and_imagenet_s(tmp_path):
    mask = np.where(box(2, 3, 6, 8), 7, 40).astype(np.uint8)
    write_image(tmp_path / "images/val/n01_1.JPEG")
    write_ids(tmp_path / "annotations/val/n01_1.png", mask)
    found = open_segmentation(f"partimagenet:{tmp_path}", task="semantic")
    assert len(found.ids) == 41 and found.classes[40] == "background"
    np.testing.assert_array_equal(found.sample(0).labels, mask)
    instances = open_segmentation(f"partimagenet:{tmp_path}", task="instance")
    assert len(instances.ids) == 40 and instances.sample(0).categories.tolist() == [7]

    ids = np.where(mask == 7, 300, np.where(box(0, 0, 1, 11), 1000, 0))
    write_image(tmp_path / "validation/n02/a.JPEG")
    write_rgb_ids(tmp_path / "validation-segmentation/n02/a.png", ids)
    found = open_segmentation(f"imagenet-s:{tmp_path}", task="semantic")
    assert found.ids == (0, 300)
    np.testing.assert_array_equal(
        found.sample(0).labels, np.where(ids == 1000, VOID, (ids == 300).astype(int))
    )


def test_found_ids_take_the_names_of_the_training_set(tmp_path):
    write_folder(tmp_path, {"a": ids(3, 40)})
    train, test = open_both("procedural_parts:2", f"folder:{tmp_path}", task="semantic")
    assert test.classes == train.classes and test.ids == train.ids
    np.testing.assert_array_equal(test.sample(0).labels, ids(3, 40))
