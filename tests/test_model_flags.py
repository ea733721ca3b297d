"""--resolution and --top_k: the same values, defaults and errors in evaluate and visualize."""

import subprocess
import sys

import pytest
from PIL import Image

from rats_jax.errors import UserError
from rats_jax.model_flags import given_resolutions, given_top_k, only
from rats_jax.models.options import ViTOptions

SHAPE = {"width": 12, "depth": 2, "heads": 3}
PAPER, DEMO = (ViTOptions(**SHAPE, image_size=side) for side in (224, 64))
DINOV2 = ViTOptions(**SHAPE, image_size=518, patch=14)


@pytest.mark.parametrize(
    "given, options, expected",
    [
        (None, PAPER, (512,)),
        (None, DEMO, (128,)),
        (None, DINOV2, (518,)),
        (["512", " 64", "512"], PAPER, (64, 512)),
    ],
)
def test_resolutions(given, options, expected):
    assert given_resolutions(given, options) == expected


def test_tasks_may_have_another_default():
    assert given_resolutions(None, DINOV2, usual=224) == (224,)


@pytest.mark.parametrize(
    "given, message",
    [
        (["x"], "--resolution=x: give pixels, such as 512, at most 8,192"),
        (["64", "0"], "--resolution=64,0: give pixels"),
        (["8208"], "--resolution=8208: give pixels"),
        (
            ["1000"],
            r"--resolution=1000 is not a multiple of the patch size \(16\); the nearest is 992",
        ),
    ],
)
def test_resolutions_that_no_model_takes(given, message):
    with pytest.raises(UserError, match=message):
        given_resolutions(given, PAPER)


def test_numbers_of_regions():
    assert given_top_k(None) is None
    assert given_top_k(["6", "x", "-1", " 12"]) == [6, 0, 0, 12]
    assert given_top_k([]) == [0]


def test_one_value_where_only_one_is_taken():
    assert only([8], flag="top_k", of="rats visualize") == 8
    with pytest.raises(UserError, match="rats visualize takes only one --top_k: give one"):
        only([8, 9], flag="top_k", of="rats visualize")


#: Argument 1 is the command, the others are command lines.
TRIES = """
import importlib, sys
from absl import flags
from absl.testing import flagsaver
from rats_jax.errors import UserError
command = importlib.import_module(f"rats_jax.{sys.argv[1]}")
flags.FLAGS.mark_as_parsed()
for line in sys.argv[2:]:
    with flagsaver.flagsaver():
        flags.FLAGS([sys.argv[1], *line.split()])
        try:
            command.main()
        except UserError as error:
            print("error:", error)
"""


@pytest.mark.processes
def test_both_commands_refuse_the_same_values_in_the_same_words(run_folder, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for folder in ("images", "masks"):
        Image.new("L", (32, 32)).save(tmp_path / folder / "0.png")
    cases = {
        "--resolution=30": (
            "--resolution=30 is not a multiple of the patch size (8); the nearest is 32"
        ),
        "--resolution=x": "--resolution=x: give pixels, such as 512, at most 8,192",
        **{
            f"--resolution=32 --top_k={k}": f"--top_k={k}: the model has 6 registers; choose "
            "numbers from 1 to 6"
            for k in ("7", "0", "x", "")
        },
    }
    model, output = f"--checkpoint={run_folder}", f"--output={tmp_path / 'out'}"
    for command, data in (
        ("evaluate", f"--dataset=folder:{tmp_path}"),
        ("visualize", f"--images={tmp_path / 'images'}"),
    ):
        lines = [f"{model} {output} {data} {case}" for case in cases]
        done = subprocess.run(
            [sys.executable, "-c", TRIES, command, *lines],
            capture_output=True,
            text=True,
            check=True,
        )
        told = [line for line in done.stdout.splitlines() if line.startswith("error:")]
        assert told == [f"error: {message}" for message in cases.values()]
    assert not (tmp_path / "out").exists()
