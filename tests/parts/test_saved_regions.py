"""Label maps of other programs: every format is read, every mistake named in one line."""

import re

import numpy as np
import pytest
from PIL import Image

from rats_jax.backbones import open_backbone
from rats_jax.errors import UserError
from rats_jax.gallery.gallery import draw
from rats_jax.parts.region_metrics import score
from rats_jax.parts.regions import resize_labels
from rats_jax.parts.saved_regions import SavedRegions, open_saved_regions
from tests.parts.datasets.written import huge_npy

LABELS = np.arange(12).reshape(3, 4) // 3 * 20  # 0 to 60
SIZE = (30, 40)


def png(path, labels, dtype=np.uint8, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, dtype))
    if palette:
        image = image.convert("P")
        image.putpalette(palette)
    image.save(path)


def rgb(labels):
    return np.stack([labels % 256, labels // 256 % 256, labels // 65536], axis=-1)


def written(folder, kind):
    """A file of one of the kinds; returns the ids in it."""
    path = folder / "x"
    if kind == "8 bits":
        png(path.with_suffix(".png"), LABELS)
    elif kind == "16 bits":
        png(path.with_suffix(".png"), LABELS + 1000, np.uint16)
        return LABELS + 1000
    elif kind == "palette":
        png(path.with_suffix(".png"), LABELS, palette=[7, 7, 7] * 256)
    elif kind == "RGB":
        png(path.with_suffix(".PNG"), rgb(LABELS * 70_000))
        return LABELS * 70_000
    elif kind == "npy":
        np.save(path, LABELS.astype(np.int64) - 1)
        return LABELS - 1
    elif kind == "npz":
        np.savez_compressed(path, anything=LABELS.astype(np.uint16))
    elif kind == "bool":
        np.save(path, LABELS > 30)
        return LABELS > 30
    return LABELS


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "palette", "RGB", "npy", "npz", "bool"])
def test_every_format_is_the_same_regions_at_the_masks_size(kind, tmp_path):
    ids = written(tmp_path, kind)
    (saved,) = open_saved_regions([f"other={tmp_path}"], ["x.jpg"], skip_broken=False)
    labels = saved.read("x.jpg", SIZE)
    assert saved.name == "other" and labels.dtype == np.int32
    assert labels.min() == 0 and labels.max() + 1 == len(np.unique(labels)) == len(np.unique(ids))
    assert score(labels, resize_labels(ids, SIZE))[:3] == (1, 1, 1)
    np.testing.assert_array_equal(saved.read_ids("x.jpg", SIZE), resize_labels(ids, SIZE))


def test_maps_are_found_by_path_by_visualizes_name_or_by_stem(tmp_path):
    for name in ("a/1.png", "b_2.png", "3.png", "a/.hidden.png", "about.txt"):
        png(tmp_path / name, LABELS) if name.endswith("png") else (tmp_path / name).write_text("")
    samples = ["a/1.jpg", "b/2.jpeg", "c/3.png"]
    (saved,) = open_saved_regions([str(tmp_path)], samples, skip_broken=False)
    found = [file.relative_to(tmp_path).as_posix() for file in saved.files.values()]
    assert found == ["a/1.png", "b_2.png", "3.png"] and saved.name == tmp_path.name


def test_the_labels_that_visualize_writes_are_taken_as_they_lie(run_folder, tmp_path):
    names = ["a/x.png", "b/x.png"]
    rng = np.random.default_rng(0)
    for name in names:
        png(tmp_path / "images" / name, rng.integers(0, 256, (24, 40, 3)))
    files = [(name, tmp_path / "images" / name) for name in names]
    draw(open_backbone(str(run_folder)), files, tmp_path / "out", top_k=3, resolution=40)
    folder = tmp_path / "out" / "labels"
    (saved,) = open_saved_regions([str(folder)], names, skip_broken=False)
    for name, file in zip(names, ("a_x.png", "b_x.png"), strict=True):
        expected = np.asarray(Image.open(folder / file))
        assert score(saved.read(name, (24, 40)), expected)[:3] == (1, 1, 1)


@pytest.mark.parametrize("size", [(3, 4), (6, 7), (300, 399), (301, 400), (1, 1)])
def test_sides_may_be_rounded(size, tmp_path):
    png(tmp_path / "x.png", np.zeros(size))
    (saved,) = open_saved_regions([str(tmp_path)], ["x.jpg"], skip_broken=False)
    assert saved.read("x.jpg", SIZE).shape == SIZE


def array(value):
    return lambda folder: np.save(folder / "x.npy", value)


@pytest.mark.parametrize(
    "write, message",
    [
        (array(np.zeros((3, 4))), r"x.npy holds float64 [3, 4]; write integer labels"),
        (array(np.zeros((2, 3, 4), int)), r"x.npy holds int64 [2, 3, 4]; write integer labels"),
        (
            array(np.zeros((4, 3), int)),
            "x.npy is 3 x 4, but its image 40 x 30: the aspect ratios differ",
        ),
        (array(np.zeros((0, 4), int)), r"x.npy holds int64 [0, 4]; write integer labels"),
        (array(np.array([[None]])), "x.npy is not a readable array (Object arrays"),
        (lambda f: (f / "x.npy").write_bytes(huge_npy()), "x.npy is not a readable array"),
        (lambda f: (f / "x.npy").write_bytes(b""), "x.npy is not a readable array"),
        (lambda f: (f / "x.npz").write_bytes(b"PK\3\4"), "x.npz is not a readable array"),
        (
            lambda f: np.savez(f / "x.npz", a=LABELS, b=LABELS),
            "x.npz holds 2 arrays; write one, the label map",
        ),
        (lambda f: (f / "x.png").write_bytes(b"no"), "x.png is not a readable PNG"),
        (
            lambda f: Image.new("RGBA", (4, 3)).save(f / "x.png"),
            "x.png has Pillow's mode RGBA; write ids as a PNG of one channel",
        ),
    ],
)
def test_a_map_that_is_none_is_named(write, message, tmp_path):
    write(tmp_path)
    (saved,) = open_saved_regions([str(tmp_path)], ["x.jpg"], skip_broken=False)
    with pytest.raises(UserError, match=re.escape(message)) as told:
        saved.read("x.jpg", SIZE)
    assert "\n" not in str(told.value) and str(tmp_path) in str(told.value)


@pytest.mark.parametrize(
    "files, samples, message",
    [
        (["x.png"], ["x.jpg", "y.jpg"], "has no label map for y.jpg: add y with .png or .tif"),
        (["z.png"], ["x.jpg"], "has no label map for any image; the first is expected as"),
        (["x.png", "x.npy"], ["x.jpg"], "x.png are two label maps with the same name; remove one"),
        (["x.png"], ["a/x.jpg", "b/x.jpg"], "matches both a/x.jpg and b/x.jpg"),
        (["x.txt"], ["x.jpg"], "contains no label map, but x.txt; expected .png, .tif"),
    ],
)
def test_names_that_do_not_match_are_told_at_once(files, samples, message, tmp_path):
    for file in files:
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(UserError, match=re.escape(message)):
        open_saved_regions([str(tmp_path)], samples, skip_broken=False)


def test_a_missing_map_can_be_left_out(tmp_path):
    png(tmp_path / "x.png", LABELS)
    samples = ["x.jpg", "y.jpg"]
    (saved,) = open_saved_regions([str(tmp_path)], samples, skip_broken=True)
    assert saved.read("x.jpg", SIZE).shape == SIZE
    with pytest.raises(UserError, match="no label map for y.jpg"):
        saved.read("y.jpg", SIZE)


def test_folders_need_names_of_their_own(tmp_path):
    for parent in ("p", "q"):
        png(tmp_path / parent / "maps" / "x.png", LABELS)
    folders = [str(tmp_path / parent / "maps") for parent in ("p", "q")]
    with pytest.raises(UserError, match="two --regions are named maps; write --regions=NAME="):
        open_saved_regions(folders, ["x.jpg"], skip_broken=False)
    named = [folders[0], f"other={folders[1]}"]
    opened = open_saved_regions(named, ["x.jpg"], skip_broken=False)
    assert [one.name for one in opened] == ["maps", "other"]
    with pytest.raises(UserError, match="is not a folder; write NAME=DIR or DIR"):
        open_saved_regions(["none=/not/there"], ["x.jpg"], skip_broken=False)


@pytest.mark.parametrize("name", ["grid", "SLIC", "grid like x", "model: x", "a|b"])
def test_names_that_results_use_otherwise_are_refused(name, tmp_path):
    png(tmp_path / name / "x.png", LABELS)
    for spec in (f"{name}={tmp_path / name}", str(tmp_path / name)):
        with pytest.raises(UserError, match="is reserved for other rows.*--regions=NAME="):
            open_saved_regions([spec], ["x.jpg"], skip_broken=False)
    (saved,) = open_saved_regions([f"mine={tmp_path / name}"], ["x.jpg"], skip_broken=False)
    assert saved.name == "mine"


def test_names_that_no_terminal_shows_are_escaped(tmp_path):
    saved = SavedRegions("other", tmp_path, {})
    with pytest.raises(UserError, match=r"x\\n1.jpg") as told:
        saved.read("x\n1.jpg", SIZE)
    assert "\n" not in str(told.value)
