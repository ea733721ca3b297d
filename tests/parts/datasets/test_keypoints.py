"""CUB-200-2011 and NABirds, in their files: a pixel for each visible keypoint."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.parts.datasets import VOID, open_dataset
from tests.parts.datasets.written import SIZE, write_image

CUB = {
    "images.txt": "1 001.Albatross/a.jpg\n2 001.Albatross/b.jpg\n3 002.Finch/c d.jpg\n",
    "train_test_split.txt": "1 1\n2 0\n3 0\n",
    "parts/parts.txt": "1 back\n2 beak\n3 left eye\n",
    "parts/part_locs.txt": "1 1 3.0 2.0 1\n1 2 10.9 8.5 1\n1 3 0.0 0.0 0\n"
    "2 1 11.0 9.0 1\n2 2 0.0 0.0 1\n3 1 4.0 4.0 1\n3 2 4.2 4.7 1\n",
}


def written(root, **changes):
    """CUB in a folder, with other texts of some files, by their names without folder and ending."""
    for file, text in CUB.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        name = file.rpartition("/")[2].removesuffix(".txt")
        (root / file).write_text(changes.get(name, text))
    for line in CUB["images.txt"].splitlines():
        write_image(root / "images" / line.split(maxsplit=1)[1])
    return root


def test_a_mask_has_a_pixel_for_each_visible_keypoint(tmp_path):
    dataset = pickle.loads(pickle.dumps(open_dataset(f"cub:{written(tmp_path)}", points=True)))
    one, other, third = (dataset.sample(i) for i in range(3))
    expected = np.full(SIZE, VOID)
    expected[2, 3], expected[8, 10] = 1, 2
    np.testing.assert_array_equal(one.mask, expected)
    assert other.mask[8, 10] == 1 and other.mask[0, 0] == 2  # on the edges, and inside
    assert third.mask[4, 4] == 2 and (third.mask != VOID).sum() == 1  # the later of two
    assert one.labels == {1: "back", 2: "beak", 3: "left eye"}
    assert [s.group for s in (one, third)] == ["001.Albatross", "002.Finch"]
    assert dataset.points and dataset.background is None and third.name == "002.Finch/c d.jpg"


def test_splits(tmp_path):
    written(tmp_path / "CUB_200_2011")
    for path in ("", "/CUB_200_2011"):
        names = {
            split: [
                e.name for e in open_dataset(f"cub:{tmp_path}{path}{split}", points=True).entries
            ]
            for split in ("", "/train", "/test")
        }
        assert names[""] == sorted(names["/train"] + names["/test"]) and len(names["/train"]) == 1
    with pytest.raises(UserError, match="/val does not exist.*PATH/train, PATH/test"):
        open_dataset(f"cub:{tmp_path}/val", points=True)


def test_nabirds_has_the_sizes_of_its_images(tmp_path):
    written(tmp_path)
    (tmp_path / "sizes.txt").write_text("1 11 9\n2 11 9\n3 12 9\n")
    dataset = open_dataset(f"nabirds:{tmp_path}", points=True)
    assert dataset.sample(0).mask[2, 3] == 1
    with pytest.raises(UserError, match=r"sizes.txt says that 002.Finch/c d.jpg is 12 x 9 pixels"):
        dataset.sample(2)


@pytest.mark.parametrize("kind", ["cub", "nabirds"])
def test_part_scores_refuse_points(kind, tmp_path):
    with pytest.raises(
        UserError, match=f"{kind} has keypoints .*--task=consistency and rats dictionary acc"
    ):
        open_dataset(f"{kind}:{written(tmp_path)}")


LOCS = CUB["parts/part_locs.txt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"part_locs": LOCS + "4 1 1 1 1\n"},
            "part_locs.txt has image 4, which images.txt does not",
        ),
        ({"part_locs": LOCS + "3 1 1\n"}, "part_locs.txt: line 8 has 3 fields instead of 5"),
        ({"part_locs": "1 1 x 2 1\n"}, "part_locs.txt has 'x' instead of a number"),
        ({"part_locs": "1 1.5 1 2 1\n"}, "part_locs.txt has '1.5' instead of a whole number"),
        ({"part_locs": "1 1 nan 2 1\n"}, "part_locs.txt has 'nan' instead of a number"),
        (
            {"part_locs": "1 1 12.5 2 1\n"},
            r"the back of 001.Albatross/a.jpg is at \(12.5, 2\), out",
        ),
        ({"part_locs": "1 1 -1 2 1\n"}, r"is at \(-1, 2\), outside of its 11 x 9 pixels"),
        ({"part_locs": "1 9 1 2 1\n"}, "has a keypoint of part 9, which parts.txt does not list"),
        ({"part_locs": "2 1 1 2 1\n"}, "has no line for image 1, 001.Albatross/a.jpg"),
        ({"images": ""}, "images.txt lists no image"),
        ({"images": "1 a.jpg\n2 a.jpg\n3 gone.jpg\n"}, "a.jpg cannot be read"),
        ({"parts": "one back\n"}, "parts.txt has 'one' instead of a number"),
    ],
)
def test_broken_files_are_one_line(tmp_path, changes, message):
    written(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as error:
        open_dataset(f"cub:{tmp_path}", points=True).sample(0)
    assert "\n" not in str(error.value)


@pytest.mark.processes
def test_consistency_is_over_keypoints(tmp_path):
    """Of label maps whose ids are the parts: they agree perfectly, and no model is needed."""
    written(tmp_path / "birds")
    dataset = open_dataset(f"cub:{tmp_path}/birds", points=True)
    for i, entry in enumerate(dataset.entries):
        ids = np.where(dataset.sample(i).mask == 1, 7, 9).astype(np.uint8)
        (tmp_path / "maps" / entry.name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save((tmp_path / "maps" / entry.name).with_suffix(".png"))
    command = [sys.executable, "-m", "rats_jax.evaluate", f"--dataset=cub:{tmp_path}/birds"]
    more = ["--task=consistency", f"--regions=other={tmp_path}/maps", f"--output={tmp_path}/out"]
    options = ["--entries=2", "--resolution=32"]
    done = subprocess.run([*command, *more, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| other | 2 | 100.0 " in done.stdout and "over the keypoints of 1 images" in done.stdout
    done = subprocess.run([*command, f"--output={tmp_path}/no"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
