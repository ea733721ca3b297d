"""Sizes are known without decoding, and are those of the images that are read."""

import numpy as np
import pytest
from PIL import Image

from rats_jax.segmentation.datasets import open_segmentation

SIZES = {"a.jpg": 1, "b.jpg": 6, "c.png": 1, "d.png": 8, "e.webp": 6}


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name, orientation in SIZES.items():
        image = Image.new("RGB", (40, 30), "teal")
        image.getexif()[0x0112] = orientation
        image.save(tmp_path / "images" / name, exif=image.getexif())
        mask = np.ones((40, 30) if orientation > 4 else (30, 40), np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name[0]}.png")
    return tmp_path


@pytest.mark.parametrize("task", ["semantic", "instance"])
def test_sizes_are_those_of_the_images(folder, task):
    dataset = open_segmentation(f"folder:{folder}", task=task, classes=[1])
    read = [dataset.sample(i).image.shape[:2] for i in range(len(dataset))]
    assert [dataset.size(i) for i in range(len(dataset))] == read
    assert set(read) == {(30, 40), (40, 30)}
    (folder / "images/a.jpg").write_bytes(b"broken")
    assert dataset.size(0) is None
    some = dataset.limited(2)
    assert some.size(1) == some.sample(1).image.shape[:2]


def test_drawings_have_one_size():
    dataset = open_segmentation("procedural_parts:3", task="semantic")
    assert dataset.size(2) == dataset.sample(2).image.shape[:2]
