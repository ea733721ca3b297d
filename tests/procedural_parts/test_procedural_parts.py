"""The drawn world: pure in (seed, index), the same at every size, with masks that fit."""

import pickle
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from rats_jax.procedural_parts import (
    BACKGROUND,
    PARTS,
    SUPER_CATEGORIES,
    ProceduralParts,
    part_ids,
    render,
)
from rats_jax.procedural_parts.__main__ import main
from rats_jax.procedural_parts.canvas import rasterise
from rats_jax.procedural_parts.dice import Dice
from rats_jax.procedural_parts.paint import Paint
from rats_jax.procedural_parts.scene import compose
from rats_jax.procedural_parts.shading import shade

MANY = 700


@lru_cache(maxsize=1)
def many():
    """Enough small images for statistics: labels and masks of world 11."""
    samples = [render(seed=11, index=i, size=32) for i in range(MANY)]
    return np.array([s.label for s in samples]), np.stack([s.parts for s in samples])


def test_taxonomy_is_that_of_partimagenet():
    assert len(SUPER_CATEGORIES) == 11 and len(PARTS) == len(set(PARTS)) == BACKGROUND == 40
    assert PARTS[0] == "quadruped head" and PARTS[4] == "biped head" and PARTS[39] == "bottle mouth"
    assert [i for label in range(11) for i in part_ids(label)] == list(range(40))


@pytest.mark.parametrize("size", [32, 45, 128])
def test_shapes_and_dtypes(size):
    image, parts, label = render(seed=0, index=3, size=size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert parts.shape == (size, size) and parts.dtype == np.uint8
    assert isinstance(label, int) and 0 <= label < 11


def test_an_image_depends_on_seed_and_index_alone():
    source = ProceduralParts(size=48, length=40, seed=5)
    forward = [source.sample(i) for i in range(12)]
    for i in reversed(range(12)):
        again = ProceduralParts(size=48, length=12, seed=5).sample(i)
        assert np.array_equal(again.image, forward[i].image)
        assert np.array_equal(again.parts, forward[i].parts)
        assert again.label == forward[i].label


@pytest.mark.processes
def test_another_process_draws_the_same_bytes():
    code = (
        "import sys, pickle; from rats_jax.procedural_parts import render;"
        "sys.stdout.buffer.write(pickle.dumps([tuple(render(seed=9, index=i, size=40))"
        " for i in (7, 2, 10**12)]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    for index, (image, parts, label) in zip((7, 2, 10**12), pickle.loads(output), strict=True):
        here = render(seed=9, index=index, size=40)
        assert np.array_equal(here.image, image) and np.array_equal(here.parts, parts)
        assert here.label == label


def test_the_world_stays_the_one_that_published_numbers_speak_of():
    labels = [render(seed=0, index=i, size=8).label for i in range(16)]
    assert labels == [4, 8, 10, 6, 5, 10, 4, 1, 8, 9, 4, 8, 8, 6, 8, 5]
    image, parts, _ = render(seed=0, index=0, size=64)
    quarters = image.reshape(2, 32, 2, 32, 3).mean((1, 3)).ravel()
    expected = [222, 186, 133, 248, 213, 150, 180, 140, 95, 216, 172, 121]
    assert np.abs(quarters - expected).max() < 3  # room for another Pillow's resampling
    assert [abs((parts == i).sum() - n) < 20 for i, n in ((18, 137), (19, 501))] == [True, True]


def test_worlds_and_indices_differ():
    images = [render(seed=s, index=i, size=32).image for s in (0, 1, 2**40) for i in (0, 1, 2)]
    for a in range(len(images)):
        for b in range(a):
            assert np.abs(images[a].astype(float) - images[b]).mean() > 5


@pytest.mark.parametrize(("big", "small", "agreement"), [(256, 128, 0.97), (192, 64, 0.97)])
def test_size_only_sets_how_finely_a_picture_is_sampled(big, small, agreement):
    factor, agreed = big // small, []
    for index in range(12):
        fine, coarse = (render(seed=2, index=index, size=size) for size in (big, small))
        assert fine.label == coarse.label
        blocks = fine.image.reshape(small, factor, small, factor, 3).astype(float)
        assert np.abs(blocks.mean((1, 3)) - coarse.image).mean() < 3
        agreed.append(
            (fine.parts[factor // 2 :: factor, factor // 2 :: factor] == coarse.parts).mean()
        )
    assert np.mean(agreed) > agreement


def test_an_image_holds_only_its_own_parts_and_most_of_them():
    labels, masks = many()
    shown = []
    for label, mask in zip(labels, masks, strict=True):
        present, own = set(np.unique(mask)) - {BACKGROUND}, set(part_ids(label))
        assert present <= own
        shown.append(len(present) / len(own))
    assert np.mean(shown) > 0.97


def test_no_part_is_negligible():
    labels, masks = many()
    for label in range(11):
        mine = masks[labels == label]
        for part in part_ids(label):
            assert (mine == part).any((1, 2)).mean() > 0.85, PARTS[part]
            least = 0.005 if PARTS[part] == "car side mirror" else 0.01
            assert (mine == part).mean() > least, PARTS[part]


def test_labels_are_about_uniform():
    counts = np.bincount(many()[0], minlength=11)
    expected = MANY / 11
    assert ((counts - expected) ** 2 / expected).sum() < 35  # chi-squared, 10 dof: p = 1e-4


def test_objects_fill_a_good_share_of_the_frame():
    labels, masks = many()
    share = (masks != BACKGROUND).mean((1, 2))
    assert 0.18 < np.median(share) < 0.5 and share.min() > 0.02
    reach = [max(np.ptp(axis) + 1 for axis in np.nonzero(m != BACKGROUND)) / 32 for m in masks]
    assert 0.6 < np.median(reach) <= 1.0


def test_objects_face_left_and_right():
    labels, masks = many()
    label, columns = SUPER_CATEGORIES.index("fish"), np.arange(32)
    head, tail = part_ids(label)[0], part_ids(label)[-1]
    right = []
    for mask in masks[labels == label]:
        if (mask == head).any() and (mask == tail).any():
            weight = [(mask == part).sum(0) for part in (head, tail)]
            ahead, behind = ((w * columns).sum() / w.sum() for w in weight)
            right.append(ahead > behind)
    assert 0.25 < np.mean(right) < 0.75


def test_some_objects_are_hidden_in_part_and_some_are_cut_by_the_frame():
    hidden, cut = [], []
    for index in range(150):
        scene = compose(Dice(seed=4, index=index))
        alone = rasterise(scene.behind + scene.figure, size=32, light=scene.style.light).parts
        whole = rasterise(
            scene.behind + scene.figure + scene.front, size=32, light=scene.style.light
        ).parts
        seen = whole != BACKGROUND
        assert not (seen & (whole != alone)).any()  # what is in front only ever hides
        hidden.append(1 - seen.sum() / (alone != BACKGROUND).sum())
        border = np.concatenate([alone[0], alone[-1], alone[:, 0], alone[:, -1]])
        cut.append((border != BACKGROUND).any())
    hidden = np.array(hidden)
    assert 0.1 < (hidden > 0.01).mean() < 0.5 and hidden.max() < 0.5
    assert 0.1 < np.mean(cut) < 0.6


def test_mask_and_picture_come_from_the_same_geometry():
    """Repainting one part flat changes the pixels of its mask and, rims apart, no others."""
    for index in range(30):
        scene = compose(Dice(seed=6, index=index))
        shapes, size = scene.behind + scene.figure + scene.front, 96
        layers = rasterise(shapes, size=size, light=scene.style.light)
        before = shade(layers, scene.style).astype(int)
        part = layers.parts[layers.parts != BACKGROUND][0]
        lime = Paint((0.0, 1.0, 0.0), (0.0, 1.0, 0.0), volume=0.0)
        repainted = [s._replace(paint=lime) if s.part == part else s for s in shapes]
        after = shade(rasterise(repainted, size=size, light=scene.style.light), scene.style)
        mask = layers.parts == part
        padded = np.pad(mask, 1, mode="edge")
        near = [padded[y : y + size, x : x + size] for y in range(3) for x in range(3)]
        inside, outside = np.all(near, axis=0), ~np.any(near, axis=0)
        changed = np.abs(after.astype(int) - before).max(-1)
        assert (changed[outside] == 0).mean() > 0.995  # spokes and glints thinner than a pixel
        assert (after[inside][:, 1] > 2 * after[inside][:, 0]).all()


def test_colour_alone_does_not_settle_the_parts():
    """Flat colour clusters must neither miss the parts altogether nor give them away."""
    purity = []
    for index in range(60):
        image, parts, _ = render(seed=8, index=index, size=64)
        code = (image // 64).astype(int) @ (16, 4, 1)  # 64 colour bins
        table = np.zeros((64, 41))
        np.add.at(table, (code[parts != 40], parts[parts != 40]), 1)
        purity.append(table.max(1).sum() / table.sum())
    assert 0.5 < np.mean(purity) < 0.9


def test_source_is_a_sequence_of_image_and_label():
    source = ProceduralParts(size=32, length=3, seed=1)
    assert len(source) == 3
    image, label = source[np.int64(2)]
    assert np.array_equal(image, source.sample(2).image) and label == source.sample(2).label
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"index {index} "):
            source[index]
    assert len(list(source)) == 3  # plain iteration stops at the end


def test_a_wrong_argument_is_named():
    with pytest.raises(ValueError, match="seed and index"):
        render(seed=-1, index=0, size=32)
    with pytest.raises(ValueError, match="size"):
        render(seed=0, index=0, size=4)


@pytest.mark.processes
def test_drawings_as_files_are_a_data_set_of_parts_and_one_of_classes(tmp_path, capsys):
    from rats_jax.data.sources import ImageFolder
    from rats_jax.parts.datasets import open_dataset

    folder = tmp_path / "drawings"
    assert main([f"--output={folder}", "--count=70", "--size=48", "--seed=3"]) == 0
    assert f"read as folder:{folder}" in capsys.readouterr().out
    parts, images = open_dataset(f"folder:{folder}"), ImageFolder(folder / "images")
    assert len(parts) == len(images) == 70 and len(images.classes) == len(SUPER_CATEGORIES)
    for i in (0, 33, 69):
        sample = parts.sample(i)
        drawn = render(seed=3, index=int(sample.name.rpartition("/")[2][:6]), size=48)
        assert np.array_equal(sample.mask, drawn.parts)
        assert sample.group.startswith(f"{drawn.label:02d}_")
        assert np.abs(sample.image.astype(int) - drawn.image).mean() < 6  # JPEG
    assert main([f"--output={folder}", "--count=1"]) == 2
    assert "another name" in capsys.readouterr().err
    assert main([f"--output={tmp_path / 'new'}", "--count=0"]) == 2


def test_contact_sheet(tmp_path, capsys):
    path = tmp_path / "sheet.png"
    assert main([f"--output={path}", "--size=32", "--columns=1"]) == 0
    with Image.open(path) as sheet:
        assert sheet.height > 11 * 32 and sheet.width > 64
    assert main([f"--output={tmp_path}/none/sheet.png"]) == 2
    assert "create it" in capsys.readouterr().err
    assert main([f"--output={tmp_path}/sheet.gif"]) == 2
    assert main([f"--output={path}", "--columns=0"]) == 2
    assert main([f"--output={path}", "--seed=-1"]) == 2
