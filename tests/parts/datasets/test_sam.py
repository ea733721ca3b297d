"""Masks of SAM and SAM 2 in every form that users have them in."""

import pickle
import zipfile

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
    huge_npy,
    rle,
    write_ids,
    write_image,
    write_json,
)

MASKS = [box(0, 0, 6, 6), box(2, 2, 4, 4), box(3, 1, 9, 9)]
PAINTED = np.full(SIZE, VOID)
for place in (2, 0, 1):  # by descending area
    PAINTED[MASKS[place]] = place + 1


def as_sam(encode) -> list[dict]:
    """What SamAutomaticMaskGenerator gives, and amg.py writes."""
    return [
        {
            "segmentation": encode(mask),
            "area": int(mask.sum()),
            "bbox": [0, 0, 1, 1],
            "predicted_iou": 0.9,
            "point_coords": [[1.5, 2.5]],
            "stability_score": 0.95,
            "crop_box": [0, 0, WIDTH, HEIGHT],
        }
        for mask in MASKS
    ]


def polygons(mask: np.ndarray) -> list[list[int]]:
    (top, left), (bottom, right) = np.argwhere(mask).min(0), np.argwhere(mask).max(0) + 1
    return [[int(n) for n in (left, top, right, top, right, bottom, left, bottom)]]


SA_1B = {
    "image": {"image_id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "a.jpg"},
    "annotations": as_sam(compressed_rle),
}
JSONS = {
    "coco_rle": as_sam(compressed_rle),
    "uncompressed_rle": as_sam(rle),
    "binary_mask": as_sam(np.ndarray.tolist),
    "polygons": as_sam(polygons),
    "SA-1B": SA_1B,
    "transformers": {"masks": [mask.tolist() for mask in MASKS], "scores": [0.9, 0.8, 0.7]},
    "transformers, RLE": {"masks": [], "scores": [], "rle_mask": [*map(rle, MASKS)]},
}


@pytest.mark.parametrize("form", JSONS)
def test_every_json_gives_the_same_map(tmp_path, form):
    write_image(tmp_path / "images/a.jpg")
    write_json(tmp_path / "masks/a.json", JSONS[form])
    dataset = pickle.loads(pickle.dumps(open_dataset(f"sam:{tmp_path}")))
    sample = dataset.sample(0)
    np.testing.assert_array_equal(sample.mask, PAINTED)
    assert (sample.name, sample.group, sample.mask.dtype) == ("a.jpg", None, np.int32)
    assert "smallest" in dataset.flattening and "void" in dataset.flattening


def test_a_folder_of_sa_1b(tmp_path):
    write_image(tmp_path / "sa_000020/sa_223750.jpg")
    write_json(tmp_path / "sa_000020/sa_223750.json", SA_1B)
    for path, name in ((tmp_path, "sa_000020/sa_223750.jpg"), (tmp_path / "sa_000020", None)):
        dataset = open_dataset(f"sam:{path}")
        assert len(dataset) == 1 and dataset.entries[0].name == (name or "sa_223750.jpg")
        np.testing.assert_array_equal(dataset.sample(0).mask, PAINTED)


@pytest.mark.parametrize(
    "arrays",
    [
        {"masks": np.stack(MASKS), "scores": np.ones(3)},
        {"arr_0": np.stack(MASKS).astype(np.uint8)},
        {"masks": np.where(PAINTED == VOID, 0, PAINTED).astype(np.uint8)},
    ],
)
def test_npz_of_masks_or_of_a_map(tmp_path, arrays):
    write_image(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    np.savez_compressed(tmp_path / "masks/a.npz", **arrays)
    np.testing.assert_array_equal(open_dataset(f"sam:{tmp_path}").sample(0).mask, PAINTED)


def test_one_png_for_each_image(tmp_path):
    write_image(tmp_path / "images/dogs/a.jpg")
    ids = np.where(PAINTED == VOID, 0, PAINTED * 300)
    write_ids(tmp_path / "masks/dogs/a.png", ids.astype(np.uint16))
    sample = open_dataset(f"sam:{tmp_path / 'masks'}").sample(0)
    np.testing.assert_array_equal(sample.mask, np.where(ids == 0, VOID, ids))
    assert sample.group == "dogs"


def test_one_png_for_each_mask_as_amg_writes(tmp_path):
    write_image(tmp_path / "images/a.jpg")
    masks = [*MASKS, *[box(8, 10, 9, 11)] * 8]  # of eight equal ones the last, 10.png, is on top
    for i, mask in enumerate(masks):
        write_ids(tmp_path / f"masks/a/{i}.png", mask.astype(np.uint8) * 255)
        write_ids(tmp_path / f"masks/gone/{i}.png", mask.astype(np.uint8) * 255)
    for folder in ("a", "gone"):
        (tmp_path / f"masks/{folder}/metadata.csv").write_text("id,area\n0,36\n")
    dataset = open_dataset(f"sam:{tmp_path}")
    expected = PAINTED.copy()
    expected[8, 10] = 11
    np.testing.assert_array_equal(dataset.sample(0).mask, expected)
    assert len(dataset) == 2
    with pytest.raises(UserError, match=r"masks/gone has no image .*images/gone.\*; add it"):
        dataset.sample(1)


def damaged(**fields) -> list[dict]:
    return [*as_sam(rle), {"segmentation": {"size": list(SIZE), "counts": [99]} | fields}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (damaged(counts=[98]), "a.json: mask 3 has a corrupt RLE: its runs sum to 98, but 9 x 11"),
        (damaged(counts=[199, -100]), "mask 3 has a corrupt RLE: a run is negative"),
        (damaged(counts="é"), "mask 3 has a corrupt RLE: it is not ASCII"),
        (damaged(counts=[2**62] * 4 + [99]), "mask 3 has a corrupt RLE: its runs sum to 1844"),
        (damaged(size=[10**6, 10**6], counts=[10**12]), r"mask 3 has size \[1000000, 1000000\]"),
        (damaged(counts="o"), "mask 3 has a corrupt RLE: it is cut short"),
        (damaged(size=[11, 9]), r"mask 3 has size \[11, 9\], but the image has \[9, 11\]"),
        (as_sam(lambda mask: None), "a.json: mask 0 is neither RLE"),
        ([{"area": 3}], "a.json holds no masks as SAM"),
        ({"image": {}}, "a.json holds no masks as SAM"),
        (3, "a.json holds no masks as SAM"),
    ],
)
def test_a_damaged_json_is_told(tmp_path, content, line):
    write_image(tmp_path / "images/a.jpg")
    write_json(tmp_path / "masks/a.json", content)
    dataset = open_dataset(f"sam:{tmp_path}")
    with pytest.raises(UserError, match=line):
        dataset.sample(0)
    (tmp_path / "masks/a.json").write_text('[{"segmentation"')
    with pytest.raises(UserError, match="a.json is not JSON"):
        dataset.sample(0)


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"masks": np.array(JSONS["coco_rle"], object)}, r"a.npz holds no array of masks .*savez"),
        ({"a": np.zeros(2), "b": np.zeros(2)}, r"a.npz holds no array of masks .*masks"),
        ({"masks": np.zeros((3, *SIZE), np.float32)}, r"holds float32 \[3, 9, 11\]; save masks"),
        (
            {"masks": np.zeros((3, 9, 9), bool)},
            r"a.npz: mask 0 has size \(9, 9\), but the image has",
        ),
        ({"masks": np.full((1, *SIZE), 7)}, "a.npz: mask 0 is not binary"),
        ({"masks": np.full(SIZE, -1)}, "a.npz holds ids that are negative"),
        ({"masks": np.zeros((3, 4), int)}, "a.npz is 4 x 3 pixels, and .*a.jpg is 11 x 9"),
    ],
)
def test_an_npz_of_something_else_is_told(tmp_path, arrays, line):
    write_image(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    np.savez(tmp_path / "masks/a.npz", **arrays)
    dataset = open_dataset(f"sam:{tmp_path}")
    with pytest.raises(UserError, match=line):
        dataset.sample(0)
    (tmp_path / "masks/a.npz").write_bytes(b"PK cut short")
    with pytest.raises(UserError, match="a.npz holds no array of masks"):
        dataset.sample(0)
    with zipfile.ZipFile(tmp_path / "masks/a.npz", "w") as file:
        file.writestr("masks.npy", huge_npy())
    with pytest.raises(UserError, match="a.npz holds no array of masks"):
        dataset.sample(0)


def test_missing_and_doubled_files_are_told(tmp_path):
    for stem in "ab":
        write_image(tmp_path / f"images/{stem}.jpg")
    for stem in "bc":
        write_json(tmp_path / f"masks/{stem}.json", SA_1B)
    dataset = open_dataset(f"sam:{tmp_path}")
    assert (dataset.sample(1).mask == PAINTED).all()
    for i, line in ((0, "images/a.jpg has no mask"), (2, "masks/c.json has no image")):
        with pytest.raises(UserError, match=line):
            dataset.sample(i)
    write_ids(tmp_path / "masks/b.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(UserError, match="holds b.json and b.png, two masks for one image"):
        open_dataset(f"sam:{tmp_path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty contains no image"):
        open_dataset(f"sam:{tmp_path}/empty")
