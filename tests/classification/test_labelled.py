"""Labelled images of every kind, and what evaluation sees of them."""

import io
import tarfile

import jax
import numpy as np
import pytest
from PIL import Image

from rats_jax.backbones import open_backbone
from rats_jax.classification import labelled
from rats_jax.classification.labelled import (
    check_apart,
    check_class_names,
    held_out,
    labels_as,
    open_labelled,
    relabelled,
)
from rats_jax.classification.views import central_crop, random_crop
from rats_jax.data import source_kinds
from rats_jax.data.crops import random_box
from rats_jax.data.reading import LeftOut
from rats_jax.data.records import open_writer, pack
from rats_jax.errors import UserError
from rats_jax.evals import vectors
from rats_jax.evals.vectors import batches, extract, read_labels
from rats_jax.procedural_parts import SUPER_CATEGORIES
from rats_jax.progress import Progress
from tests.classification.colours import MeanColour, make_colours

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_colours(tmp_path_factory.mktemp("colours"), each=4)


@pytest.fixture
def spec(request, folder, tmp_path):
    """The same twelve images as each kind has them."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    if request.param == "tar":
        with tarfile.open(tmp_path / "images.tar", "w") as tar:
            for file in files:
                tar.add(folder / file, arcname=str(file))
        return f"tar:{tmp_path / 'images.tar'}"
    if request.param == "records":
        shard = tmp_path / "a.array_record"
        writer = open_writer(shard)
        for file in files:
            label = CLASSES.index(file.parts[0])
            writer.write(pack(str(file), label, (folder / file).read_bytes()))
        writer.close()
        size = shard.stat().st_size
        (tmp_path / "manifest.json").write_text(
            f'{{"format": 1, "images": 12, "classes": ["blue", "green", "red"], "shards": '
            f'[{{"file": "a.array_record", "images": 12, "bytes": {size}, "sha256": ""}}]}}'
        )
        return f"records:{tmp_path}"
    return f"image_folder:{folder}"


@pytest.mark.parametrize("spec", ["image_folder", "records", "tar"], indirect=True)
def test_each_kind_has_images_labels_names_and_classes(folder, spec):
    images = open_labelled(spec)
    assert images.name == spec and images.classes == CLASSES
    indices, labels = read_labels(images, LeftOut(skip_broken=False))
    assert indices.tolist() == list(range(12)) and labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert images.file(5).endswith("green/005.png")
    assert images.read(5) == ((folder / "green" / "005.png").read_bytes(), 1)


def test_drawings_have_their_super_categories():
    images = open_labelled("procedural_parts:6@3")
    assert images.classes == SUPER_CATEGORIES and images.file(4) == "image 4"
    (image, label), (other, _) = images.read(4), open_labelled("procedural_parts:6").read(4)
    assert image.shape == (128, 128, 3) and 0 <= label < 11
    assert (image != other).any()


@pytest.mark.parametrize(
    "place, expected",
    [
        ("imagenet2012:5.1.0/validation@/data", ("imagenet2012:5.1.0", "validation", "/data")),
        ("pets/big:1.0.0/train[:90%]@/a@b", ("pets/big:1.0.0", "train[:90%]", "/a@b")),
    ],
)
def test_a_tfds_data_set_is_named_with_split_and_folder(monkeypatch, place, expected):
    class Fake:
        classes = ["cat", "dog"]

        def __init__(self, name, split, folder):
            assert (name, split, str(folder)) == expected

    monkeypatch.setattr(source_kinds, "TFDS", Fake)
    assert open_labelled(f"tfds:{place}").classes == ("cat", "dog")


@pytest.mark.parametrize(
    "spec, message",
    [
        ("photos", "'photos' are not KIND:PATH; KIND is one of image_folder, records, tar"),
        ("image_folder:", "write image_folder:FOLDER, with a folder for each class"),
        ("image_folder:/no/such", "^image_folder:/no/such: /no/such does not exist; give"),
        ("tfds:pets@/data", "write tfds:NAME/SPLIT@DATA_DIR"),
        ("tfds:pets/train", "write tfds:NAME/SPLIT@DATA_DIR"),
        ("procedural_parts:0", "write procedural_parts:COUNT, or COUNT@SEED"),
        ("procedural_parts:9@x", "write procedural_parts:COUNT, or COUNT@SEED"),
    ],
)
def test_what_cannot_be_opened_is_told_in_one_line(spec, message):
    with pytest.raises(UserError, match=message) as raised:
        open_labelled(spec)
    assert "\n" not in str(raised.value)


def named(name, *classes):
    return labelled.LabelledImages(name, [], classes)


def test_labels_are_matched_by_the_names_of_classes():
    train, test = named("train", "ant", "bee", "cat"), named("test", "cat", "ant")
    assert labels_as(train, test).tolist() == [2, 0]
    assert labels_as(train, named("tar")) is None
    with pytest.raises(UserError, match=r"1 of the 3 classes of train are not in test \(bee\)"):
        labels_as(test, train)


@pytest.mark.parametrize(
    "classes, is_level_off",
    [
        (("train", "val"), True),
        (("", "Test", "training"), True),
        (("train", "bus", "val"), False),  # a class of vehicles
        ((), False),
    ],
)
def test_splits_are_no_classes(classes, is_level_off):
    images = named("image_folder:data/", *classes)
    if not is_level_off:
        check_class_names(images)
        return
    with pytest.raises(UserError, match="names of splits: give .*, such as image_folder:data/[tT]"):
        check_class_names(images)


def test_a_part_of_a_set_is_spread_over_its_classes(folder):
    images = open_labelled(f"image_folder:{folder}")
    some = images.limited(3)
    indices, labels = read_labels(some, LeftOut(skip_broken=False))
    assert labels.tolist() == [0, 1, 2] and indices.tolist() == [0, 1, 2]
    assert [some.file(i) for i in range(3)] == [images.file(i) for i in (0, 4, 8)]
    assert some.read(1) == images.read(4) and some.classes == images.classes
    drawn = open_labelled("procedural_parts:9").limited(2)
    assert drawn.file(1) == "image 4" and len(drawn.source) == 2
    assert len(images.limited(99).source) == 12 and images.limited(None) is images


def test_labels_beyond_the_names_are_a_users_mistake():
    assert relabelled(np.array([1, 0]), np.array([5, 7]), of="test").tolist() == [7, 5]
    assert relabelled(np.array([9]), None, of="test").tolist() == [9]
    with pytest.raises(
        UserError, match="test has an image with label 2, but names of only 2 classes"
    ):
        relabelled(np.array([0, 2]), np.array([5, 7]), of="test")


@pytest.mark.parametrize("label, reason", [(-1, "no label"), (2**63, "is 2..63 or more")])
def test_labels_that_no_array_can_hold_are_broken(label, reason):
    images = labelled.LabelledImages("x", [(b"", label)], ())
    with pytest.raises(labelled.BrokenImage, match=reason):
        images.read(0)


def test_images_that_are_learned_from_are_not_scored(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    drawn, same = open_labelled("procedural_parts:9"), open_labelled("procedural_parts:4@0")
    with pytest.raises(UserError, match="among those to learn from: give another seed, COUNT@SEED"):
        check_apart(drawn, same)
    check_apart(drawn, open_labelled("procedural_parts:9@1"))
    images = open_labelled(f"image_folder:{folder}")
    with pytest.raises(UserError, match="among those to learn from: give others"):
        check_apart(images, open_labelled(f"image_folder:{tmp_path / 'link'}/"))
    check_apart(images, drawn)


def test_a_fifth_of_each_class_is_held_out():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 7], [50, 12, 3, 2]))
    chosen = held_out(labels)
    assert [int(chosen[labels == label].sum()) for label in (0, 1, 2, 7)] == [10, 2, 1, 0]
    assert (held_out(labels) == chosen).all() and (held_out(labels, seed=1) != chosen).any()


class Flawed:
    """Ten images of one level each, of which three cannot be used."""

    classes = ()

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == 2:
            raise OSError(5, "Input/output error")
        if index == 5:
            return b"no image", 1
        return np.full((4, 4, 3), index, np.uint8), -1 if index == 7 else index % 3


def test_broken_and_unlabelled_images_are_named(capsys):
    images = labelled.LabelledImages("flawed", Flawed(), ())
    left_out, work = LeftOut(skip_broken=True), Progress("flawed", 20)
    for _ in range(2):  # each is told once
        found = list(batches(images, range(9, -1, -1), lambda x, i: x + i, left_out, work, batch=4))
    assert [batch.indices.tolist() for batch in found] == [[9, 8, 6, 4], [3, 1, 0]]
    assert [batch.labels.tolist() for batch in found] == [[0, 2, 0, 1], [0, 1, 0]]
    assert found[1].pixels[:, 0, 0, 0].tolist() == [6, 2, 0, 0]
    lines = left_out.lines
    assert lines[0] == "flawed, image 7: no label" and lines[2].endswith("2: Input/output error")
    assert lines[1].startswith("flawed, image 5: not an image") and len(lines) == 3
    assert capsys.readouterr().out.count("warning: skipped: flawed, image") == 3
    indices, labels = read_labels(images, LeftOut(skip_broken=True))
    assert indices.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]  # the bytes of 5 can be read
    assert labels.tolist() == [0, 1, 0, 1, 1, 0, 2, 0]
    with pytest.raises(UserError, match="image 2: Input/output error .or skip it with --skip"):
        read_labels(images, LeftOut(skip_broken=False))


def test_no_more_images_are_decoded_than_are_soon_used():
    begun = []

    class Counting(Flawed):
        def __len__(self):
            return 10**6

        def __getitem__(self, index):
            begun.append(index)
            return np.zeros((4, 4, 3), np.uint8), 0

    images = labelled.LabelledImages("many", Counting(), ())
    left_out, work = LeftOut(skip_broken=False), Progress("many", 10**6)
    coming = batches(images, range(10**6), lambda x, _: x, left_out, work, batch=8)
    for _ in range(3):
        next(coming)
    coming.close()
    assert len(begun) <= 3 * 8 + 2 * 8 + 1


@pytest.mark.parametrize(
    "size, side, resized, corner",
    [
        ((500, 375), 224, (341, 256), (58, 16)),  # 58.5 and 16: Python rounds to even
        ((333, 640), 224, (256, 492), (16, 134)),
        ((640, 427), 224, (383, 256), (80, 16)),  # of 383.7 pixels; 79.5
        ((60, 40), 16, (27, 18), (6, 1)),
        ((20, 20), 224, (256, 256), (16, 16)),
    ],
)
def test_the_central_crop_is_torchvisions(size, side, resized, corner):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    left, top = corner
    box = (left, top, left + side, top + side)
    expected = image.resize(resized, Image.Resampling.BICUBIC).crop(box)
    np.testing.assert_array_equal(central_crop(np.asarray(image), side), np.asarray(expected))


def test_random_crops_are_resized_bilinear_and_flipped_half_of_the_time():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    flipped = 0
    for seed in range(40):
        crop = random_crop(pixels, 24, np.random.default_rng(seed))
        box = random_box((70, 50), np.random.default_rng(seed), scale=(0.08, 1.0))
        straight = Image.fromarray(pixels).crop(box).resize((24, 24), Image.Resampling.BILINEAR)
        flipped += not (crop == np.asarray(straight)).all()
        assert (crop == np.asarray(straight)).all() or (crop[:, ::-1] == straight).all()
    assert 10 < flipped < 30


def test_vectors_are_those_of_each_image_alone(run_folder, folder, monkeypatch):
    monkeypatch.setattr(vectors, "BATCH", 5)
    backbone, images = open_backbone(str(run_folder)), open_labelled(f"image_folder:{folder}")
    models = {"run": backbone, "colour": MeanColour()}
    compute = {name: model.taking(lambda f: f.global_vector) for name, model in models.items()}
    chosen = [11, 0, 3, 7, 4, 8]
    found = extract(compute, models, images, chosen, 16, LeftOut(skip_broken=False))
    assert found.indices.tolist() == chosen and found.labels.tolist() == [2, 0, 0, 1, 1, 2]
    views = [
        central_crop(np.asarray(Image.open(io.BytesIO(images.read(i)[0]))), 16) for i in chosen
    ]
    expected = jax.device_get(backbone.looking()(np.stack(views)).global_vector)
    np.testing.assert_allclose(found.of["run"], expected, atol=1e-5)
    colours = (np.stack(views).mean((1, 2)) / 255 - (0.4, 0.5, 0.6)) / (0.2, 0.3, 0.4) * 2
    np.testing.assert_allclose(found.of["colour"], colours, atol=1e-4)


def test_a_data_set_without_a_readable_image_is_told():
    images = labelled.LabelledImages("flawed", Flawed(), ())
    model = {"colour": MeanColour()}
    compute = {"colour": model["colour"].taking(lambda f: f.global_vector)}
    with pytest.raises(
        UserError, match="no image of flawed could be read; the first error: flawed, im"
    ):
        extract(compute, model, images, [2, 7], 16, LeftOut(skip_broken=True))
