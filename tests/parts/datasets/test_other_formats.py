"""Masks that are there, though not as PNG: read where their ids are sure, otherwise named."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, open_dataset
from rats_jax.parts.datasets.part_dataset import MOST_REGIONS
from rats_jax.parts.saved_regions import open_saved_regions
from tests.parts.datasets.written import SIZE, box, write_ids, write_image, write_json

IDS = np.arange(99, dtype=np.uint8).reshape(SIZE) // 9


def write(path, ids=IDS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, ids)
    elif path.suffix == ".npz":
        np.savez(path, ids)
    else:
        Image.fromarray(ids).save(path)


@pytest.mark.parametrize(
    "name, dtype",
    [
        ("a.tif", np.uint8),
        ("a.TIFF", np.uint16),
        ("a.tif", np.int32),
        ("a.bmp", np.uint8),
        ("a.npy", np.uint16),
        ("a.npz", np.int64),
    ],
)
def test_ids_without_loss_are_read(tmp_path, name, dtype):
    write_image(tmp_path / "images/a.jpg")
    write(tmp_path / "masks" / name, IDS.astype(dtype))
    np.testing.assert_array_equal(open_dataset(f"folder:{tmp_path}").sample(0).mask, IDS)
    saved = open_saved_regions([f"{tmp_path}/masks"], ["a.jpg"], skip_broken=False)
    np.testing.assert_array_equal(saved[0].read("a.jpg", SIZE), IDS)


@pytest.mark.parametrize("ids", [IDS > 5, np.stack([IDS == 1, IDS == 3]), IDS])
def test_sams_masks_may_be_npy(tmp_path, ids):
    write_image(tmp_path / "images/a.jpg")
    for end in ("npy", "npz"):
        write(tmp_path / f"{end}/masks/a.{end}", ids)
        write_image(tmp_path / f"{end}/images/a.jpg")
    one, other = (open_dataset(f"sam:{tmp_path}/{end}").sample(0).mask for end in ("npy", "npz"))
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) >= 2 and (one == VOID).any()


def test_a_png_comes_first_and_embeddings_are_no_masks(tmp_path):
    write_image(tmp_path / "images/a.jpg")
    write_ids(tmp_path / "masks/a.png", IDS)
    np.save(tmp_path / "masks/a.npy", np.zeros((1, 256, 64, 64), np.float32))
    np.save(tmp_path / "masks/classes.npy", np.arange(3))
    dataset = open_dataset(f"folder:{tmp_path}")
    assert len(dataset) == 1 and (dataset.sample(0).mask == IDS).all()
    (tmp_path / "masks/a.png").unlink()
    write_json(tmp_path / "masks/a.json", {"masks": [box(0, 0, 3, 3).tolist()]})
    mask = open_dataset(f"sam:{tmp_path}").sample(0).mask
    np.testing.assert_array_equal(mask, np.where(box(0, 0, 3, 3), 1, VOID))
    np.save(tmp_path / "masks/a.npy", IDS)
    write(tmp_path / "masks/a.tif")
    with pytest.raises(UserError, match="holds a.npy and a.tif, two masks for one image"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "kind, name, line",
    [
        ("folder", "a.jpg", "that can be read: a.jpg has a lossy format, which can change the ids"),
        ("folder", "a.webp", "that can be read: a.webp has a lossy format"),
        ("folder", "a.json", "that can be read: a.json has a format that cannot be read; save"),
        ("sam", "a.pkl", "that can be read: a.pkl could execute code when it is loaded"),
        ("sam", "a.pth", "that can be read: a.pth could execute code"),
        ("folder", "a_mask.png", "but there is a_mask.png; if this is the mask, rename it"),
        ("folder", "A.png", "but there is A.png; if this is the mask, rename it"),
        ("folder", "a.jpg.png", "but there is a.jpg.png"),
        ("folder", "ab.jpg", r"has no mask .*masks/a\.\*; add it$"),
    ],
)
def test_a_file_that_is_not_read_is_named(tmp_path, kind, name, line):
    write_image(tmp_path / "images/a.jpg")
    write(tmp_path / "masks/a.bmp")
    (tmp_path / "masks/a.bmp").rename(tmp_path / "masks" / name)
    dataset = open_dataset(f"{kind}:{tmp_path}")
    place = [entry.name for entry in dataset.entries].index("a.jpg")
    with pytest.raises(UserError, match=line):
        dataset.sample(place)


def test_an_image_that_is_not_read_is_named(tmp_path):
    write_image(tmp_path / "images/a.jpg")
    write_image(tmp_path / "images/b.bmp")
    for stem in "ab":
        write_ids(tmp_path / f"masks/{stem}.png", IDS)
    dataset = open_dataset(f"folder:{tmp_path}")
    with pytest.raises(UserError, match="b.png has no image that can be read, but .*images/b.bmp;"):
        dataset.sample(1)


def test_names_that_look_the_same_are_the_same(tmp_path):
    """macOS takes letters and accents apart, and archives keep that."""
    apart, whole = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))
    assert apart != whole
    write_image(tmp_path / f"images/{whole}.jpg")
    write_ids(tmp_path / f"masks/{apart}.png", IDS)
    dataset = open_dataset(f"folder:{tmp_path}")
    assert len(dataset) == 1 and (dataset.sample(0).mask == IDS).all()


@pytest.mark.parametrize("name", ["y.jpg", "y.pkl"])
def test_a_label_map_that_is_not_read_is_named(tmp_path, name):
    write(tmp_path / "x.png")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"no label map for y.webp that can be read, but {name}: "):
        open_saved_regions([str(tmp_path)], ["x.jpg", "y.webp"], skip_broken=False)


@pytest.mark.parametrize(
    "ids, line",
    [
        (
            np.full(SIZE, -1),
            "holds ids that are negative or at least 2",
        ),  # VOID, which no file can hold
        (np.full(SIZE, 2**31, np.int64), "holds ids that are negative or at least 2"),
        (np.full(SIZE, 2**64 - 1, np.uint64), "holds ids that are negative or at least 2"),
        (np.zeros(SIZE, np.float32), r"holds float32 \[9, 11\]; write integer ids"),
        (np.zeros((3, *SIZE), int), r"holds int64 \[3, 9, 11\]; write integer ids"),
    ],
)
def test_ids_that_cannot_be_are_refused(tmp_path, ids, line):
    write_image(tmp_path / "images/a.jpg")
    write(tmp_path / "masks/a.npy", ids)
    with pytest.raises(UserError, match=f"a.npy {line}"):
        open_dataset(f"folder:{tmp_path}").sample(0)


def test_a_tiff_of_pages_is_no_map(tmp_path):
    write_image(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    page = Image.fromarray(IDS)
    page.save(tmp_path / "masks/a.tif", save_all=True, append_images=[page])
    with pytest.raises(UserError, match="a.tif holds 2 pages; write one, the label map"):
        open_dataset(f"folder:{tmp_path}").sample(0)


@pytest.mark.parametrize("first", [0, 2**30])
def test_a_picture_is_no_label_map(tmp_path, first):
    """Tables are as large as the numbers of regions; ids may be of any size."""
    side = 70
    assert side**2 > MOST_REGIONS
    ids = first + np.arange(side**2).reshape(side, side)
    write_image(tmp_path / "images/a.jpg", ids.shape)
    write(tmp_path / "masks/a.npy", ids)
    with pytest.raises(UserError, match="a.npy holds 4,900 ids, more than the limit of 4,096"):
        open_dataset(f"folder:{tmp_path}").sample(0)
    (saved,) = open_saved_regions([f"x={tmp_path}/masks"], ["a.jpg"], skip_broken=False)
    with pytest.raises(UserError, match="a.npy holds 4,900 labels, more than the limit of 4,096"):
        saved.read("a.jpg", ids.shape)
    write(tmp_path / "masks/a.npy", np.minimum(ids, first + 4095))
    assert open_dataset(f"folder:{tmp_path}").sample(0).mask.max() == first + 4095
