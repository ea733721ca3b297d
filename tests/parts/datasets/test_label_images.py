"""Sets with one PNG of ids for each image, laid out as they are when unpacked."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, open_dataset
from rats_jax.parts.datasets.id_files import read_ids, read_rgb_ids
from tests.parts.datasets.written import SIZE, write_ids, write_image, write_json, write_rgb_ids

IDS = np.arange(99, dtype=np.uint8).reshape(SIZE)


def write_pair(root, stem="a", ids=IDS, images="images", masks="masks"):
    write_image(root / images / f"{stem}.jpg")
    write_ids(root / masks / f"{stem}.png", ids)


def test_a_folder_of_images_and_masks(tmp_path):
    pixels = write_image(tmp_path / "cars/images/b.JPG")
    write_ids(tmp_path / "cars/masks/b.png", IDS * np.uint16(600))
    write_pair(tmp_path / "cars", "sub/a")
    dataset = open_dataset(f"folder:{tmp_path}/cars")
    assert (dataset.name, len(dataset)) == ("cars", 2)
    assert "0 as well" in dataset.flattening
    first, second = dataset.sample(0), dataset.sample(1)
    assert (first.name, first.group) == ("b.JPG", None)
    assert (second.name, second.group) == ("sub/a.jpg", "sub")
    np.testing.assert_array_equal(first.image, pixels)
    np.testing.assert_array_equal(first.mask, IDS * np.uint16(600))
    np.testing.assert_array_equal(second.mask, IDS)
    assert first.mask.dtype == second.mask.dtype == np.int32
    assert [e.name for e in open_dataset(f"folder:{tmp_path}/cars/images").entries] == [
        "b.JPG",
        "sub/a.jpg",
    ]


def test_nothing_but_names_is_read_when_it_is_opened(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"no image")
    (tmp_path / "masks/a.png").write_bytes(b"no mask")
    dataset = open_dataset(f"folder:{tmp_path}")
    with pytest.raises(UserError, match=r"images/a.png is not a readable image"):
        dataset.sample(0)
    write_image(tmp_path / "images/a.png")
    with pytest.raises(UserError, match=r"masks/a.png is not a readable PNG .*: not PNG"):
        dataset.sample(0)
    (tmp_path / "masks/a.png").unlink()
    with pytest.raises(UserError, match=r"masks/a.png cannot be read \(No such file"):
        dataset.sample(0)


def test_it_can_be_pickled_and_read_from_threads(tmp_path):
    for stem in "abcdef":
        write_pair(tmp_path, stem)
    write_pair(tmp_path / "ade", images="images/validation", masks="annotations/validation")
    dataset = pickle.loads(pickle.dumps(open_dataset(f"folder:{tmp_path}")))
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(dataset.sample, range(6)))
    assert [sample.name for sample in samples] == [f"{stem}.jpg" for stem in "abcdef"]
    assert all((sample.mask == IDS).all() for sample in samples)
    ade = open_dataset(f"ade20k:{tmp_path}/ade")
    assert (pickle.loads(pickle.dumps(ade)).sample(0).mask == ade.sample(0).mask).all()


def test_of_a_palette_the_indices_are_the_ids(tmp_path):
    write_image(tmp_path / "images/a.jpg")
    mask = Image.new("P", SIZE[::-1])
    mask.putdata(IDS.ravel().tolist())
    mask.putpalette(list(range(255, -1, -1)) * 3)
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks/a.png")
    np.testing.assert_array_equal(open_dataset(f"folder:{tmp_path}").sample(0).mask, IDS)


def test_what_is_missing_is_told_when_the_sample_is_asked_for(tmp_path):
    write_pair(tmp_path, "whole")
    write_image(tmp_path / "images/alone.jpg")
    write_ids(tmp_path / "masks/orphan.png", IDS)
    write_ids(tmp_path / "masks/._whole.png", IDS)  # as macOS leaves them
    write_pair(tmp_path, "small", np.zeros((3, 4), np.uint8))
    write_pair(tmp_path, "zcolour", np.zeros((*SIZE, 3), np.uint8))
    dataset = open_dataset(f"folder:{tmp_path}")
    faults = {}
    for i, entry in enumerate(dataset.entries):
        try:
            dataset.sample(i)
        except UserError as error:
            faults[entry.name] = str(error).replace(str(tmp_path) + "/", "")
    assert faults == {
        "alone.jpg": "images/alone.jpg has no mask masks/alone.*; add it",
        "orphan.png": "masks/orphan.png has no image images/orphan.*; add it, or remove the mask",
        "small.jpg": "masks/small.png is 4 x 3 pixels, and images/small.jpg is 11 x 9; give both "
        "the same size, and resize masks without interpolation",
        "zcolour.jpg": "masks/zcolour.png has Pillow's mode RGB; write ids as a PNG of one channel "
        "of 8 or 16 bits",
    }


def test_a_fault_is_one_line_whatever_the_name(tmp_path):
    write_image(tmp_path / "images/a\nb.png")
    (tmp_path / "masks").mkdir()
    dataset = open_dataset(f"folder:{tmp_path}")
    with pytest.raises(UserError, match=r"images/a\\nb.png has no mask"):
        dataset.sample(0)
    write_image(tmp_path / "images/a\nb.jpg")
    with pytest.raises(UserError, match=r"holds a\\nb.jpg and a\\nb.png"):
        open_dataset(f"folder:{tmp_path}")


def test_a_set_that_cannot_be_opened_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match=r"KIND is one of folder, ade20k, .*sam"):
        open_dataset(f"pascal:{tmp_path}")
    with pytest.raises(UserError, match="'folder': write folder:PATH, a folder with images/"):
        open_dataset("folder")
    with pytest.raises(UserError, match="nowhere does not exist"):
        open_dataset(f"folder:{tmp_path}/nowhere")
    with pytest.raises(UserError, match="does not contain images/ and masks/; give"):
        open_dataset(f"folder:{tmp_path}")
    with pytest.raises(UserError, match="images/validation/ and annotations/validation/"):
        open_dataset(f"ade20k:{tmp_path}")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="images contains no image"):
        open_dataset(f"folder:{tmp_path}")
    write_image(tmp_path / "images/a.jpg")
    write_image(tmp_path / "images/a.png")
    with pytest.raises(UserError, match=r"holds a.jpg and a.png.*rename one"):
        open_dataset(f"folder:{tmp_path}")


def write_ade20k(root, split, ids):
    write_pair(root, f"ADE_{split}_1", ids, f"images/{split}", f"annotations/{split}")


def test_ade20k(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    ids = IDS + 52  # to 150
    ids[0, :3] = 0
    write_ade20k(root, "validation", ids)
    write_ade20k(root, "training", ids + 1)
    (root / "sceneCategories.txt").write_text("ADE_validation_1 abbey\nADE_training_1 attic\n")
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1576\t11664\t1172\t1\twall\n"
        "5\t0.0480\t6678\t641\t1\ttree, plant\n"
    )
    dataset = open_dataset(f"ade20k:{root}")
    sample = dataset.sample(0)
    assert (dataset.name, sample.group) == ("ade20k-validation", "abbey")
    assert sample.labels == {1: "wall", 5: "tree, plant"}
    np.testing.assert_array_equal(sample.mask, np.where(ids == 0, VOID, ids.astype(int)))
    for folder in ("images", "annotations"):
        training = open_dataset(f"ade20k:{root}/{folder}/training")
        assert (training.name, training.entries[0].group) == ("ade20k-training", "attic")
        with pytest.raises(UserError, match=r"annotations/training/ADE.*png holds id 151, but"):
            training.sample(0)


def test_imagenet_s(tmp_path):
    ids = IDS.astype(int) * 9  # past 255: the two channels must not be multiplied as bytes
    ids[0, :2], ids[1, 0] = 1000, 919
    write_image(tmp_path / "validation/n01440764/ILSVRC2012_val_1.JPEG")
    write_rgb_ids(tmp_path / "validation-segmentation/n01440764/ILSVRC2012_val_1.png", ids)
    for path in (tmp_path, tmp_path / "validation", tmp_path / "validation-segmentation"):
        dataset = open_dataset(f"imagenet-s:{path}")
        sample = dataset.sample(0)
        assert dataset.name == "imagenet-s-validation"
        assert (sample.name, sample.group) == ("n01440764/ILSVRC2012_val_1.JPEG", "n01440764")
        np.testing.assert_array_equal(sample.mask, np.where(ids == 1000, VOID, ids))
    ids[1, 0] = 920
    write_rgb_ids(tmp_path / "validation-segmentation/n01440764/ILSVRC2012_val_1.png", ids)
    with pytest.raises(
        UserError, match="val_1.png holds id 920, but the largest id of this data set is 919"
    ):
        dataset.sample(0)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_ids_of_imagenet_s_may_be_arrays(tmp_path, ending):
    write_image(tmp_path / "validation/n01/a.JPEG")
    mask = tmp_path / f"validation-segmentation/n01/a.{ending}"
    mask.parent.mkdir(parents=True)
    save = {"npy": np.save, "npz": np.savez}[ending]
    save(mask, IDS.astype(int) * 9)
    dataset = open_dataset(f"imagenet-s:{tmp_path}")
    np.testing.assert_array_equal(dataset.sample(0).mask, IDS.astype(int) * 9)
    save(mask, np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(UserError, match=r"holds uint8 \[9, 11, 3\]; write integer ids"):
        dataset.sample(0)


@pytest.mark.parametrize("read", [read_ids, read_rgb_ids])
def test_ids_in_a_format_that_is_not_read_name_those_that_are(tmp_path, read):
    with pytest.raises(UserError, match=r"a.jpg holds no ids; save them as one of \.png, .*npz$"):
        read(tmp_path / "a.jpg")


def test_partimagenet(tmp_path):
    ids = IDS % 41
    stem = "n02100735_8211"
    for split in ("val", "test"):
        write_image(tmp_path / f"images/{split}/{stem}.JPEG")
        write_ids(tmp_path / f"annotations/{split}/{stem}.png", ids + (split == "test"))
        write_json(tmp_path / f"annotations/{split}/{stem}.json", {})
    categories = [{"id": 0, "name": "Quadruped Head", "supercategory": "Quadruped"}]
    write_json(tmp_path / "annotations/val/val.json", {"categories": categories})
    dataset = open_dataset(f"partimagenet:{tmp_path}")
    sample = dataset.sample(0)
    assert (dataset.name, len(dataset), sample.group) == ("partimagenet-val", 1, "n02100735")
    assert sample.labels == {0: "Quadruped Head", 40: "background"}
    np.testing.assert_array_equal(sample.mask, ids)
    test = open_dataset(f"partimagenet:{tmp_path}/images/test")
    with pytest.raises(UserError, match=r"test/n02100735_8211.png holds id 41"):
        test.sample(0)
    (tmp_path / "annotations/val/val.json").write_text("{cut")
    with pytest.raises(UserError, match="val.json is not JSON"):
        open_dataset(f"partimagenet:{tmp_path}")
