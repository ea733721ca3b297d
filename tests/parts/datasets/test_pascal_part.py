"""PASCAL-Part, in files as MATLAB writes them: ids that are the same in every image."""

import pickle

import numpy as np
import pytest
from scipy.io import savemat

from rats_jax.errors import UserError
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.datasets.pascal_part_names import IDS, part_id
from tests.parts.datasets.written import SIZE, box, write_image


def struct_array(structs: list[dict]) -> np.ndarray:
    """A MATLAB struct array, 1 x N; [] if it is empty."""
    if not structs:
        return np.zeros((0, 0))
    array = np.zeros((1, len(structs)), [(key, object) for key in structs[0]])
    for i, struct in enumerate(structs):
        for key, value in struct.items():
            array[0, i][key] = value
    return array


def part(name: str, mask: np.ndarray) -> dict:
    return {"part_name": name, "mask": mask.astype(np.uint8)}


def thing(category: str, mask: np.ndarray, *parts: dict) -> dict:
    return {"class": category, "class_ind": 1} | {
        "mask": mask.astype(np.uint8),
        "parts": struct_array([*parts]),
    }


DOG = thing(
    "dog",
    box(1, 1, 7, 8),
    part("head", box(1, 1, 4, 5)),
    part("leye", box(2, 2, 3, 3)),
    part("rear", box(1, 4, 2, 5)),
)
SOFA = thing("sofa", box(6, 0, 9, 11))


def written(root, **images):
    """PASCAL-Part and VOC in a folder: stem -> objects."""
    for stem, objects in images.items():
        write_image(root / f"JPEGImages/{stem}.jpg")
        (root / "Annotations_Part").mkdir(exist_ok=True)
        annotation = {"imname": stem, "objects": struct_array(objects)}
        savemat(root / f"Annotations_Part/{stem}.mat", {"anno": annotation}, do_compression=True)
    return root


def test_masks_are_painted_object_by_object(tmp_path):
    root = written(tmp_path, a=[DOG, SOFA], b=[SOFA])
    dataset = pickle.loads(pickle.dumps(open_dataset(f"pascal-part:{root}")))
    expected = np.zeros(SIZE, int)
    for mask, name in (
        (box(1, 1, 7, 8), "dog"),
        (box(1, 1, 4, 5), "dog head"),
        (box(2, 2, 3, 3), "dog eye"),
        (box(1, 4, 2, 5), "dog ear"),
        (box(6, 0, 9, 11), "sofa"),
    ):
        expected[mask] = IDS[name]
    one, other = (dataset.sample(i) for i in range(2))
    np.testing.assert_array_equal(one.mask, expected)
    assert set(np.unique(other.mask)) == {0, IDS["sofa"]}
    assert one.labels[int(one.mask[2, 2])] == "dog eye" and one.labels[0] == "background"
    assert (dataset.background, one.name, len(dataset)) == (0, "a.jpg", 2)


def test_a_single_part_is_a_struct_and_no_list(tmp_path):
    """scipy reads a struct array of one element as the struct."""
    root = written(tmp_path, a=[thing("cat", box(0, 0, 5, 5), part("tail", box(0, 0, 1, 1)))])
    mask = open_dataset(f"pascal-part:{root}").sample(0).mask
    assert set(np.unique(mask)) == {0, IDS["cat"], IDS["cat tail"]}


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("car wheel_2", "car wheel"),
        ("car leftside", "car side"),
        ("bus rightmirror", "bus mirror"),
        ("train hleftside", "train hside"),
        ("train crightside_3", "train cside"),
        ("bird lleg", "bird leg"),
        ("person llleg", "person lleg"),
        ("person rear", "person ear"),
        ("cow rbuleg", "cow buleg"),
        ("diningtable", "table"),
        ("tvmonitor screen", "tvmonitor screen"),
    ],
)
def test_left_and_right_and_numbered_parts_are_one(name, merged):
    assert part_id(name) == IDS[merged] > 0


def test_splits_are_the_lists_of_voc(tmp_path):
    root = written(tmp_path, a=[DOG], b=[SOFA], c=[SOFA])
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("c\nb  1\nmissing\n")
    dataset = open_dataset(f"pascal-part:{root}/val")
    assert [entry.name for entry in dataset.entries] == ["b.jpg", "c.jpg"]
    assert dataset.notes == ["without annotation, and left out: 1 image of val"]
    assert dataset.name == "pascal-part-val"
    with pytest.raises(UserError, match=r"train.txt cannot be read"):
        open_dataset(f"pascal-part:{root}/train")
    with pytest.raises(UserError, match="/test does not exist.*PATH/train, PATH/val, PATH/tr"):
        open_dataset(f"pascal-part:{root}/test")


def test_images_may_be_in_the_folder_of_voc(tmp_path):
    root = written(tmp_path, a=[DOG])
    (root / "VOCdevkit/VOC2010").mkdir(parents=True)
    (root / "JPEGImages").rename(root / "VOCdevkit/VOC2010/JPEGImages")
    assert open_dataset(f"pascal-part:{root}").sample(0).image.shape == (*SIZE, 3)


def broken(root, fault: str) -> None:
    mat = root / "Annotations_Part/a.mat"
    if fault == "truncated":
        mat.write_bytes(mat.read_bytes()[:-40])
    elif fault == "other":
        savemat(mat, {"anno": 3})
    elif fault == "no image":
        (root / "JPEGImages/a.jpg").unlink()
    elif fault == "size":
        write_image(root / "JPEGImages/a.jpg", (20, 30))
    elif fault == "one mask":
        written(root, a=[DOG, thing("sofa", np.ones((3, 3), bool))])
    elif fault == "part":
        written(root, a=[thing("dog", box(0, 0, 5, 5), part("saddle", box(0, 0, 1, 1)))])
    elif fault == "nothing":
        written(root, a=[])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("truncated", r"a.mat is not an annotation of PASCAL-Part \(.*\); download it again"),
        ("other", r"a.mat is not an annotation of PASCAL-Part \(another content\)"),
        ("no image", "a.jpg cannot be read"),
        ("size", "a.mat is 11 x 9 pixels, and .*a.jpg is 30 x 20"),
        ("one mask", r"a.mat: the mask of sofa has \[3, 3\] pixels, and others \[9, 11\]"),
        ("part", "a.mat has 'dog saddle', which is none of the 160 parts"),
        ("nothing", "a.mat has no object"),
    ],
)
def test_a_broken_sample_is_one_line(tmp_path, fault, message):
    broken(written(tmp_path, a=[DOG]), fault)
    dataset = open_dataset(f"pascal-part:{tmp_path}")
    with pytest.raises(UserError, match=message) as error:
        dataset.sample(0)
    assert "\n" not in str(error.value)


def test_another_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="does not contain Annotations_Part/ and JPEGImages or"):
        open_dataset(f"pascal-part:{tmp_path}")
    (tmp_path / "Annotations_Part").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(UserError, match="contains no .mat file"):
        open_dataset(f"pascal-part:{tmp_path}")
