"""Images that EXIF turns or mirrors, beside masks of the stored pixels or of upright ones."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from rats_jax.errors import UserError
from rats_jax.parts.datasets import open_dataset
from rats_jax.parts.datasets.exif import orientation, upright
from rats_jax.parts.saved_regions import open_saved_regions
from rats_jax.parts.truth import report, total, truth_of
from tests.parts.datasets.test_coco import RECTANGLE, thing, write_instances
from tests.parts.datasets.written import (
    SIZE,
    box,
    compressed_rle,
    write_ids,
    write_image,
    write_json,
)

IDS = np.arange(99, dtype=np.uint8).reshape(SIZE)


def exif(given):
    tags = Image.Exif()
    tags[0x0112] = given
    return {"exif": tags}


def turned(ids, given):
    """By Pillow, as viewers turn the image."""
    image = Image.fromarray(ids.astype(np.int32))
    image.getexif()[0x0112] = given
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("given", range(1, 9))
def test_a_map_is_turned_as_the_image_is(tmp_path, given):
    """The image itself is its mask: both must stay the same, pixel for pixel."""
    (tmp_path / "images").mkdir()
    grey = Image.fromarray(IDS)
    grey.save(tmp_path / "images/a.png", **exif(given))
    write_ids(tmp_path / "masks/a.png", IDS)
    sample = open_dataset(f"folder:{tmp_path}").sample(0)
    assert sample.orientation == given
    if given in (5, 6, 7, 8):
        np.testing.assert_array_equal(sample.mask, sample.image[..., 0])
        assert sample.drawn_on == "stored"
    else:  # either is possible, and upright ones are assumed
        np.testing.assert_array_equal(sample.mask, IDS)
        assert sample.drawn_on == (None if given == 1 else "either")
    np.testing.assert_array_equal(upright(IDS, given), turned(IDS, given))


def test_a_mask_of_the_upright_size_stays_as_it_is(tmp_path):
    write_image(tmp_path / "images/a.jpg", SIZE, **exif(6))
    write_ids(tmp_path / "masks/a.png", IDS.reshape(11, 9))
    sample = open_dataset(f"folder:{tmp_path}").sample(0)
    assert sample.image.shape == (11, 9, 3) and sample.drawn_on == "upright"
    np.testing.assert_array_equal(sample.mask, IDS.reshape(11, 9))


def test_coco_of_the_stored_size_is_turned(tmp_path):
    """Polygons and RLE, where the JSON says the size of the stored pixels; or no size."""
    line = compressed_rle(box(0, 0, 1, 4))
    write_instances(tmp_path, [thing(1, 7, RECTANGLE), thing(2, 7, line)])
    write_image(tmp_path / "val2017/000000000007.jpg", SIZE, **exif(6))
    sample = open_dataset(f"coco-instances:{tmp_path}").sample(0)
    expected = np.zeros(SIZE, int)
    expected[2:7, 3:9], expected[0, :4] = 1, 2
    np.testing.assert_array_equal(sample.mask, turned(expected, 6))
    assert sample.drawn_on == "stored"
    image = {"id": 7, "file_name": "000000000007.jpg"}
    content = {"images": [image], "annotations": [thing(1, 7, line)], "categories": []}
    write_json(tmp_path / "annotations/instances_val2017.json", content)
    sample = open_dataset(f"coco-instances:{tmp_path}").sample(0)
    np.testing.assert_array_equal(sample.mask, turned(box(0, 0, 1, 4), 6))


@pytest.mark.parametrize(
    "polygon, drawn_on",
    [
        ([2, 1, 11, 1, 11, 4, 2, 4], "either"),  # of 16 x 9 stored pixels, 9 x 16 upright
        ([2, 1, 12, 1, 12, 4, 2, 4], "stored"),
        ([2, 1, 9, 1, 9, 9, 2, 9], "either"),
        ([1, 2, 9, 2, 9, 12, 1, 12], "upright"),
    ],
)
def test_polygons_without_a_size_tell_it_where_they_fit_one_alone(tmp_path, polygon, drawn_on):
    """Of all polygons, not the first; two pixels too far are none."""
    write_image(tmp_path / "images/a.jpg", (9, 16), **exif(6))
    small = [[1, 1, 3, 1, 3, 3, 1, 3]]
    drawings = [{"segmentation": small}, {"segmentation": [polygon]}]
    write_json(tmp_path / "masks/a.json", drawings)
    annotations = [thing(id, 7, part["segmentation"]) for id, part in enumerate(drawings)]
    images = [{"id": 7, "file_name": "a.jpg"}]
    write_json(tmp_path / "coco.json", {"images": images, "annotations": annotations})
    for spec in (f"sam:{tmp_path}", f"coco-instances:{tmp_path}/coco.json"):
        sample = open_dataset(spec).sample(0)
        assert sample.drawn_on == drawn_on
        assert sample.mask.shape == (16, 9)
    drawings.append({"segmentation": [[0, 0, 16, 0, 16, 16, 0, 16]]})
    write_json(tmp_path / "masks/a.json", drawings)
    with pytest.raises(
        UserError, match="polygons of a.jpg extend over 16 x 16 pixels, and .*a.jpg .rot"
    ):
        open_dataset(f"sam:{tmp_path}").sample(0)


def test_sams_masks_of_the_stored_size_are_turned(tmp_path):
    write_image(tmp_path / "images/a.jpg", SIZE, **exif(8))
    write_json(tmp_path / "masks/a.json", [{"segmentation": compressed_rle(box(0, 0, 2, 5))}])
    mask = open_dataset(f"sam:{tmp_path}").sample(0).mask
    np.testing.assert_array_equal(mask > 0, turned(box(0, 0, 2, 5), 8))


def test_a_size_that_is_neither_names_exif(tmp_path):
    write_image(tmp_path / "images/a.jpg", SIZE, **exif(6))
    write_ids(tmp_path / "masks/a.png", IDS[:8])
    with pytest.raises(UserError, match=r"a.jpg \(rotated .* EXIF orientation\) is 9 x 11;"):
        open_dataset(f"folder:{tmp_path}").sample(0)
    write_image(tmp_path / "images/a.jpg", SIZE)  # the orientation was lost, the mask is upright
    write_ids(tmp_path / "masks/a.png", IDS.reshape(11, 9))
    with pytest.raises(UserError, match="sides are swapped, .* EXIF orientation removed"):
        open_dataset(f"folder:{tmp_path}").sample(0)


def test_label_maps_of_the_stored_pixels_are_turned(tmp_path):
    """Of any size in the shape of either."""
    labels = np.repeat(np.repeat(np.arange(6).reshape(2, 3), 2, 0), 2, 1)
    write_ids(tmp_path / "x.png", labels.astype(np.uint8))
    (saved,) = open_saved_regions([f"other={tmp_path}"], ["x.jpg"], skip_broken=False)
    np.testing.assert_array_equal(saved.read("x.jpg", (6, 4), 6), turned(labels, 6))
    np.testing.assert_array_equal(saved.read("x.jpg", (4, 6), 3), labels)
    with pytest.raises(UserError, match="the aspect ratios differ"):
        saved.read("x.jpg", (6, 4), 3)


def test_what_sizes_cannot_tell_is_said_with_counts(tmp_path):
    given = {"a": 6, "b": 6, "c": 3, "d": 2, "e": 1}
    for stem, value in given.items():
        write_image(tmp_path / f"images/{stem}.jpg", SIZE, **exif(value))
        write_ids(tmp_path / f"masks/{stem}.png", IDS if stem != "b" else IDS.reshape(11, 9))
    dataset = open_dataset(f"folder:{tmp_path}")
    truth = total(truth_of(dataset.sample(i)) for i in range(5))
    assert (truth.exif_stored, truth.exif_upright, truth.exif_either) == (1, 1, 2)
    said = "\n".join(report(truth))
    assert "EXIF rotates 2 images by 90 degrees: 1 masks have the upright size, and 1 have" in said
    assert (
        "warning: EXIF turns 2 images, and their masks do not show" in said
        and "exiftool -Orientation=" in said
    )


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe1\0\x10Exif\0\0broken"])
def test_damaged_exif_turns_nothing(content):
    assert orientation(content) == 1
