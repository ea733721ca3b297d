"""Configs: the recipes as written, and mistakes named with their remedy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from rats_jax.assemble import make_dino, make_source, without_automatic
from rats_jax.config import default_config, schedules
from rats_jax.configs import recipe_file, recipe_names
from rats_jax.errors import UserError
from rats_jax.runs.workdir import open_workdir
from rats_jax.validation import validate
from tests.runs.tiny import tiny_config

ROOT = Path(__file__).parents[1]
IMAGENET = 1_281_167


def load(name: str):
    namespace = {}
    exec(recipe_file(name).read_text(), namespace)
    return namespace["get_config"]()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_and_can_be_assembled(name):
    config = load(name)
    if config.data.source == "image_folder":
        config.data.path = "somewhere"
    validate(config)
    images = config.data.length or 10_000
    config, _ = without_automatic(config, images=images, memory=None)
    validate(config)
    make_dino(config, images=images)


@pytest.mark.parametrize(
    ("name", "peak", "warmup", "frozen"),
    [("rats_b16_in1k", 3e-3, 12_510, 3753), ("rats_s16_in1k", 1.5e-3, 16_680, 1668)],
)
def test_the_papers_recipes_are_500_400_steps(name, peak, warmup, frozen):
    s = schedules(load(name), images=IMAGENET)
    assert s.steps == 500_400
    assert s.peak_learning_rate == pytest.approx(peak)
    assert (s.warmup_steps, s.freeze_last_layer_steps) == (warmup, frozen)


@pytest.mark.parametrize("size", ["b", "s"])
def test_the_vit_baseline_differs_from_rats_in_the_model_alone(size):
    rats, vit = (load(f"{name}_{size}16_in1k").to_dict() for name in ("rats", "dino_vit"))
    assert vit["model"].pop("architecture") == "vit"
    assert rats["model"].pop("architecture") == "rats"
    assert rats == vit


MISTAKES = [
    ({"model__width": 25}, r"config\.model\.width 25 is not divisible by config\.model\.heads 3"),
    ({"crops__global_size": 30}, r"global_size 30 is not a multiple .* nearest is 32"),
    ({"crops__local_size": 4}, r"local_size 4 is not a multiple"),
    ({"crops__local_scale": (0.3, 0.1)}, "shares of the image"),
    ({"model__architecture": "cnn"}, "choose one of rats, vit, perceiver"),
    ({"model__remat": "some"}, "choose one of none, dots, full"),
    ({"model__heads": 0}, r"config\.model\.heads is 0: it must be over 0"),
    ({"model__register_std": 0.0}, r"config\.model\.register_std is 0\.0: it must be over 0"),
    ({"optimizer__learning_rate": float("inf")}, "learning_rate is inf: choose a finite number"),
    ({"model__architecture": "vit", "dino__loss_scope": "head"}, "needs registers"),
    ({"model__architecture": "perceiver"}, "at least 3 layers"),
    ({"model__drop_path": 1.0}, "drop_path"),
    ({"optimizer__warmup_epochs": 9.0}, "shorten the one or lengthen the other"),
    ({"data__source": "image_folder"}, r"config\.data\.path is empty"),
    ({"data__source": "records"}, "folder that `python -m rats_jax.prepare` has written"),
    ({"data__source": "tfds", "data__path": "somewhere"}, "config.data.name is empty"),
    ({"data__source": "http"}, "choose one of image_folder, records, tar, tfds, procedural_parts"),
    ({"data__cropping": "best"}, "choose one of fast, exact, canvas"),
    ({"data__max_unreadable": 1.5}, "from 0 to 1"),
    ({"data__canvas": 15}, "canvas 15 is smaller than config.crops.global_size 16"),
    ({"data__length": 0}, "give the number"),
    ({"data__size": 4}, "8 to 2048 pixels"),
    ({"crops__global_scale": (0.5,)}, "two numbers are meant"),
    ({"crops__local_scale": ("a", "b")}, "two numbers are meant"),
    ({"photometrics__blur_sigma": (2.0, 0.1)}, "low comes first"),
    ({"photometrics__blur_global": (0.5, 3.0)}, "probabilities"),
    ({"photometrics__brightness": -1.0}, "brightness"),
    ({"photometrics__hue": 3.0}, "from 0 to 1"),
    ({"dino__teacher_momentum": 2.0}, "from 0 to 1"),
    ({"run__log_every": 0}, "log_every"),
    ({"optimizer__clip": -1.0}, "clip"),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_a_mistake_in_a_field_is_named(fields, message):
    config = tiny_config(**fields)
    with pytest.raises(UserError, match=message):
        validate(config)
        make_source(config)


def test_a_batch_larger_than_the_data_set_is_refused():
    with pytest.raises(UserError, match=r"batch_size 8 is larger than the data set \(7 images\)"):
        schedules(tiny_config(), images=7)


def test_a_run_of_no_step_is_refused():
    config = tiny_config(optimizer__epochs=0.01, optimizer__warmup_epochs=0.0)
    with pytest.raises(UserError, match="less than a step"):
        schedules(config, images=40)


def test_a_data_set_of_another_length_than_the_recipes_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    config = load("rats_b16_in1k")
    config.data.path = str(tmp_path)
    with pytest.raises(UserError, match="holds 1 images, not 1281167"):
        make_source(config)


def opened(workdir: Path, config: ConfigDict | None = None) -> None:
    with open_workdir(str(workdir), config or tiny_config()):
        pass


def test_a_workdir_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose a directory that you may write to"):
        opened(tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_workdir_without_permission_to_write_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="choose a directory that you may write to"):
        opened(tmp_path / "run")


def test_another_seed_on_the_same_workdir_is_refused_once_it_has_a_checkpoint(tmp_path):
    config = tiny_config()
    opened(tmp_path, config)
    config.seed = 1
    opened(tmp_path, config)  # config.json has seed 0: nothing was saved
    (tmp_path / "checkpoints" / "007").mkdir(parents=True)
    opened(tmp_path, config)  # nor is this a checkpoint
    (tmp_path / "checkpoints" / "7").mkdir()
    with pytest.raises(
        UserError, match=r"contains a different run: config\.seed is 0 there and 1 here"
    ):
        opened(tmp_path, config)


def test_the_config_json_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 384, "model": {}}')
    with pytest.raises(UserError, match="is not that of a run of rats_jax: choose another"):
        opened(tmp_path)


def test_a_damaged_config_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        opened(tmp_path)


def test_config_json_is_the_config(tmp_path):
    config = default_config()
    opened(tmp_path / "run", config)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept["crops"]["local_scale"] == [0.05, 0.25]
    assert kept["head"]["prototypes"] == 65_536


@pytest.mark.processes
def test_the_package_needs_no_optional_library():
    code = (
        "import sys\n"
        "for name in ('torch', 'tensorflow', 'transformers', 'libtpu', 'sklearn'):\n"
        "    sys.modules[name] = None  # importing it now fails\n"
        "import rats_jax, rats_jax.runs.loop, rats_jax.runs.restore, rats_jax.parts.ways\n"
        "import rats_jax.train, rats_jax.pictures.overlays\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
