"""Masks that tell no method from another are refused, or warned of with counts."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.evals import part_evaluation
from rats_jax.evals.part_evaluation import evaluate_parts
from rats_jax.evals.part_results import write_results
from rats_jax.parts.datasets import VOID, Labelled, open_dataset
from rats_jax.parts.truth import check, report, total, truth_of
from tests.evals.test_part_evaluation import WITHOUT_A_MODEL
from tests.parts.datasets.written import (
    SIZE,
    box,
    compressed_rle,
    write_ids,
    write_image,
    write_json,
)

ROUND = np.hypot(*np.mgrid[-32:32, -32:32])  # a disc has borders in all directions
PARTS = np.digitize(ROUND, [8, 16, 24])


def truth(mask):
    image = np.zeros((*mask.shape, 3), np.uint8)
    return truth_of(Labelled(image, mask.astype(np.int32), "a", None))


@pytest.mark.parametrize("first", [0, 2**24, 2**31 - 5])
def test_regions_and_void_are_counted(first):
    mask = first + PARTS
    mask[:16] = VOID
    found = truth(mask)
    assert (found.images, found.regions, found.void_share) == (1, 4, 0.25)
    assert (found.all_void, found.single, found.little, found.thin) == (0, 0, 0, 0)


def resaved(mask):
    """As JPEG, and read back."""
    file = io.BytesIO()
    Image.fromarray((60 * mask).astype(np.uint8)).save(file, "JPEG")
    return np.asarray(Image.open(file))


def enlarged(mask):
    image = Image.fromarray((60 * mask).astype(np.uint8))
    return np.asarray(image.resize((100, 90), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("spoiled", [resaved, enlarged])
def test_masks_that_were_interpolated_are_warned_of(spoiled):
    assert truth(spoiled(PARTS)).thin == 1
    said = report(total([truth(PARTS), truth(spoiled(PARTS))]))
    assert any(
        line.startswith("warning: 1 of 2 images have masks that consist mostly of lines")
        for line in said
    )


@pytest.mark.parametrize(
    "mask, field",
    [
        (np.full(SIZE, VOID), "all_void"),
        (np.full(SIZE, 7), "single"),
        (np.where(box(0, 0, 4, 4), 255, VOID), "single"),
        (np.where(ROUND < 1, 3, VOID), "little"),
        (np.where(ROUND < 1, 3, VOID), "single"),
        (np.where(ROUND < 2, np.arange(64) % 2, VOID), "little"),
    ],
)
def test_masks_that_tell_nothing_are_counted(mask, field):
    assert getattr(truth(mask), field) == 1
    said = "\n".join(report(total([truth(mask), truth(PARTS)])))
    assert "warning: 1 of 2 images" in said


def test_tiny_masks_are_counted_too():
    for size in ((1, 1), (1, 5), (2, 2), (5, 1)):
        assert truth(np.arange(np.prod(size)).reshape(size)).regions == np.prod(size)


def test_nothing_but_single_regions_is_refused():
    single, void, whole = truth(np.zeros(SIZE)), truth(np.full(SIZE, VOID)), truth(PARTS)
    check(total([single, void, whole]), of="x")
    with pytest.raises(UserError, match=r"of x has two regions .*\(2 have one, 1 are void"):
        check(total([single, single, void]), of="x")
    with pytest.raises(UserError, match="no image of x has a labelled pixel to score: all are"):
        check(total([void]), of="x")


def one_mask(root):
    """SAM: what no mask covers is void."""
    write_json(root / "masks/a.json", [{"segmentation": compressed_rle(box(0, 0, 4, 4))}])
    return "sam"


def masks_alike(root):
    masks = [{"segmentation": compressed_rle(box(0, 0, 4, 4))}] * 3
    write_json(root / "masks/a.json", masks)
    return "sam"


def one_id(root):
    write_ids(root / "masks/a.png", np.full(SIZE, 255, np.uint8))
    return "folder"


def background(root):
    write_image(root / "images/val/a.jpg")
    write_ids(root / "annotations/val/a.png", np.full(SIZE, 40, np.uint8))
    return "partimagenet"


def covering(root):
    """An object as large as its image leaves no background."""
    annotation = {"id": 1, "image_id": 1, "segmentation": compressed_rle(box(0, 0, 9, 11))}
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [annotation]}
    write_json(root / "annotations/instances_val2017.json", content)
    return "coco-instances"


@pytest.mark.parametrize("make", [one_mask, masks_alike, one_id, background, covering])
def test_a_data_set_of_single_regions_is_refused(tmp_path, make):
    write_image(tmp_path / "images/a.jpg")
    kind = make(tmp_path)
    with pytest.raises(
        UserError, match="has two regions to distinguish .*M2O 100; check the masks"
    ):
        evaluate_parts({}, open_dataset(f"{kind}:{tmp_path}"), **WITHOUT_A_MODEL)


@pytest.fixture
def half(tmp_path):
    """Of six images three have one region."""
    for i in range(6):
        write_image(tmp_path / f"set/images/{i}.png")
        mask = box(0, 0, 5, 5) if i % 2 else np.zeros(SIZE, bool)
        write_ids(tmp_path / f"set/masks/{i}.png", mask.astype(np.uint8))
    return tmp_path / "set"


def test_what_masks_tell_is_recorded(half, tmp_path):
    found = evaluate_parts({}, open_dataset(f"folder:{half}"), **WITHOUT_A_MODEL)
    (tmp_path / "out").mkdir()
    write_results(tmp_path / "out", found, about={})
    masks = json.loads((tmp_path / "out/results.json").read_text())["masks"]
    assert (masks["images"], masks["single"], masks["regions"]) == (6, 3, 9)
    assert "warning: 3 of 6 images have a single region" in "\n".join(masks["report"])
    lines = (tmp_path / "out/images.csv").read_text().splitlines()
    assert [line[-2:] for line in lines if ",6,grid," in line] == [",1", ",2"] * 3


def test_a_mistake_is_said_early(half, capsys, monkeypatch):
    for i in range(1, 6, 2):
        write_ids(half / f"masks/{i}.png", np.zeros(SIZE, np.uint8))
    monkeypatch.setattr(part_evaluation, "BATCH", 1)
    monkeypatch.setattr(part_evaluation, "EARLY", 2)
    write_ids(half / "masks/5.png", box(0, 0, 5, 5).astype(np.uint8))
    evaluate_parts({}, open_dataset(f"folder:{half}"), **WITHOUT_A_MODEL)
    said = capsys.readouterr().out
    assert said.count("warning: no image of the first 2 of set has two regions to distinguish") == 1
