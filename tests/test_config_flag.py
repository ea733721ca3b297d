"""--config and its fields: what is wrong is named in one line, before anything starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from rats_jax.config_arguments import last_values, with_auto, with_home, with_paths
from rats_jax.config_errors import explain
from rats_jax.configs import FOLDER, recipe_names
from rats_jax.recipes import recipe_name, recipe_path

ROOT = Path(__file__).parents[1]
DEMO = f"--config={ROOT}/configs/demo.py"


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "rats_jax.train", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": ""},
        timeout=300,
    )


FIELDS = {
    "optimizer.lr=1": "no field lr: did you mean --config.optimizer.learning_rate? config.optimizer"
    " has accumulation, batch_size",
    "optimizer.wd=1": "no field wd: did you mean --config.optimizer.weight_decay?",
    "modl.width=3": "config has no field modl: did you mean --config.model.width? config has compu",
    "modl=3": "config has no field modl: did you mean --config.model? config has compute_dtype, ",
    "optimizer.batchsize=3": "no field batchsize: did you mean --config.optimizer.batch_size?",
    "optimiser.batch_size": "no field optimiser: did you mean --config.optimizer.batch_size?",
    "teacher=0.1": "--config.dino.teacher_momentum, --config.dino.teacher_temperature or --",
    "=3": "config has no field '': config has compute_dtype, ",
    "model.wdth=3": "config.model has no field wdth: did you mean --config.model.width?",
    "batch_size=3": "config has no field batch_size: did you mean --config.optimizer.batch_size?",
    "model.epochs=3": "did you mean --config.optimizer.epochs?",
    "model.zzz=3": "config.model has no field zzz: config.model has architecture, ",
    "optimizer=1": "--config.optimizer is a section: set a field, --config.optimizer.FIELD=VALUE",
    "seed.x=1": "config.seed is a field, not a section: write --config.seed=VALUE",
    "seed.x.y=1": "config.seed is a field, not a section: write --config.seed=VALUE",
    "seed=1.5": "--config.seed=1.5: give a whole number, such as 0",
    "seed": "--config.seed needs a value",
    "optimizer.epochs=abc": "--config.optimizer.epochs=abc: give a number, such as 0.8",
    "head.norm_last_layer=maybe": "norm_last_layer=maybe: give true or false, such as true",
    "crops.global_scale[0]=0.2": "give all values at once, such as --config.crops.global_scale=(",
    "crops.global_scale[5]=0.2": "give all values at once, such as --config.crops.global_scale=(",
    "crops.global_scale=(0.2,": "give values in brackets, such as (0.4,1.0)",
}


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_a_wrong_field_is_named_with_what_was_meant(field):
    reason = explain([DEMO, f"--config.{field}"])
    assert FIELDS[field] in reason
    assert "\n" not in reason and "ConfigDict" not in reason


@pytest.mark.parametrize(
    "field",
    ["seed=3", "optimizer.epochs=3", "optimizer.epochs=1e2", "head.norm_last_layer=false"]
    + ["crops.global_scale=(0.2,0.5)", "data.path=a=b"],
)
def test_a_right_field_has_nothing_to_explain(field):
    assert explain([DEMO, f"--config.{field}"]) is None
    name, _, value = field.partition("=")
    assert explain([DEMO, f"--config.{name}", value]) is None


def test_auto_is_a_value_of_automatic_fields_alone():
    given = [
        "--config=demo",
        "--config.optimizer.batch_size=auto",
        "--config.run.log_every",
        "auto",
    ]
    replaced = [given[0], "--config.optimizer.batch_size=-1", given[2], "-1"]
    assert with_auto(given) == replaced
    shouted = [argument.replace("auto", "AUTO") for argument in given]
    assert with_auto(shouted) == replaced
    assert with_auto(["--config.model.remat=Auto"]) == ["--config.model.remat=auto"]
    others = ["--config.model.remat=auto", "--config.optimizer.clip=auto", "--config.seed", "auto"]
    assert with_auto(others) == others
    assert explain(["--config=demo", others[1]]).startswith("--config.optimizer.clip=auto: give a")
    wrong = explain(["--config=image_folder", "--config.optimizer.batch_size=many"])
    assert wrong == "--config.optimizer.batch_size=many: give a whole number, such as auto"


@pytest.mark.processes
def test_a_size_and_a_width_on_one_command_line_are_refused():
    size = "--config.model.size=Ti"
    done = command(DEMO, size, "--config.model.width=96", "--workdir=nowhere")
    assert done.returncode == 2
    assert done.stderr == (
        "error: config.model.size=Ti sets config.model.width too: leave out one of the two\n"
    )


@pytest.mark.processes
def test_of_a_field_given_twice_the_last_counts():
    twice = ["--config.a=(1,)", "--b=1", "--config.c=2", "--config.a=(1,2)", "--b=2"]
    assert last_values(twice) == ["--b=1", "--config.c=2", "--config.a=(1,2)", "--b=2"]
    apart = ["--config.a=(1,)", "--config.a", "(1,2)"]
    assert last_values(apart) == apart[1:]
    scale = "--config.crops.global_scale"
    done = command(DEMO, f"{scale}=(0.3,1.0)", "--workdir=unused", f"{scale}=(2.0,3.0)")
    assert "crops.global_scale is (2.0, 3.0)" in done.stderr and done.returncode == 2


RECIPES = {
    "": "has no function get_config()",
    "import nope": "cannot be loaded: line 1: ModuleNotFoundError: No module named 'nope'",
    "def get_config(:": "it is not Python (line 1: ",
    "\ndef get_config():\n    return 1 / 0": "line 3: ZeroDivisionError: division by zero",
    "def get_config():\n    return {}": "returns dict: let it return the config that",
    "def get_config():\n    pass": "returns NoneType",
    "def get_config():\n    raise SystemExit(3)": "line 2: SystemExit: 3",
    "from rats_jax.config import default_config as make\ndef get_config():\n    config = make()\n"
    "    config.optimizer.batch_size = '64'": "batch_size is set to 64, and a whole number",
    "def get_config():\n    raise OSError('a\\nb')": "line 2: OSError: a b",
}


@pytest.mark.processes
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_that_does_not_load_is_one_line(recipe, tmp_path):
    file = tmp_path / "recipe.py"
    file.write_text(recipe)
    done = command(f"--config={file}", "--workdir=unused", "--config.seed=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert RECIPES[recipe] in done.stderr and str(file) in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.processes
@pytest.mark.parametrize("fields", [(), ("--config.seed=1",)], ids=["plain", "with a field"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.py", f"--config=nowhere.py does not exist in {ROOT}: name a recipe"),
        ("/nowhere.py", "--config=/nowhere.py does not exist: name a recipe"),
        ("rats_s16", f"not exist in {ROOT}: did you mean --config=rats_s16_in1k? Otherwise name a"),
        ("nowhere", f"by its path, or one of the package: {', '.join(recipe_names())}\n"),
        ("configs", "is a folder: name a recipe in it, such as configs/demo.py"),
        ("README.md", "it is not Python (line "),
        ("", "no --config: name a recipe"),
    ],
)
def test_a_path_that_is_no_recipe_is_one_line(path, message, fields):
    done = command("--workdir=unused", f"--config={path}", *fields)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.processes
def test_a_missing_config_is_one_line():
    for fields in ((), ("--config.seed=1",)):
        done = command("--workdir=unused", *fields)
        assert done.returncode == 2
        assert "no --config: name a recipe" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.processes
def test_a_recipe_without_some_fields_is_one_line(tmp_path):
    file = tmp_path / "recipe.py"
    file.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    return ConfigDict({'seed': 0})\n"
    )
    done = command(f"--config={file}", "--workdir=unused")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "the recipe has no config.compute_dtype" in done.stderr


@pytest.mark.processes
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.width=wide"], "--config.model.width=wide: give a whole number"),
        (["--config.data.source=image_folder", "--config.data.path=nowhere"], "nowhere"),
        (["stray"], "unexpected argument 'stray'"),
        (["--workdri=x"], "unknown flag --workdri: did you mean --workdir?"),
        (["--confg=demo"], "unknown flag --confg: did you mean --config?"),
        (["--confg.model.width=3"], "--confg.model.width: did you mean --config.model.width?"),
        (["--batchsize=3"], "--batchsize: did you mean --config.optimizer.batch_size?"),
        (["--epochs=3"], "unknown flag --epochs: did you mean --config.optimizer.epochs?"),
        (["--zzz=x"], "unknown flag --zzz: --help lists the flags"),
        (["--processes=many"], "--processes=many: give a whole number"),
        (["--wait=long"], "--wait=long: give a number"),
        (["--wait=0"], "--wait=0"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    done = command(DEMO, f"--workdir={tmp_path}/run", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1 and "\\n" not in done.stderr, done.stderr
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_the_home_directory_of_a_recipe(monkeypatch):
    monkeypatch.setenv("HOME", "/at/home")
    assert with_home("--config=~/x.py") == "--config=/at/home/x.py"
    for other in ("--config=x~.py", "--config.data.path=~/x", "--workdir=~/x", "~/x"):
        assert with_home(other) == other


def test_a_recipe_has_a_name_and_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawings = str(FOLDER / "drawings.py")
    assert recipe_names() == sorted(set(recipe_names())) and "drawings" in recipe_names()
    assert recipe_path("drawings") == recipe_path("drawings.py") == drawings
    assert recipe_path("drawings:x:y") == f"{drawings}:x:y"
    for other in ("drawing", "here/drawings.py", "__init__", "", "drawings.txt"):
        assert recipe_path(other) == other
    (tmp_path / "drawings").mkdir()  # a folder is no recipe
    assert recipe_path("drawings") == drawings
    (tmp_path / "drawings.py").touch()  # one of the user's own
    assert recipe_path("drawings.py") == "drawings.py" and recipe_path("drawings") == drawings
    assert (recipe_name(drawings), recipe_name("drawings.py")) == ("drawings", "drawings.py")


def test_a_recipe_by_name_on_the_command_line():
    path = str(FOLDER / "demo.py")
    given = [
        "--config=demo",
        "--workdir=demo",
        "--config.data.path=demo",
        "-config",
        "demo",
        "demo",
    ]
    changed = [f"--config={path}", *given[1:4], path, "demo"]
    assert with_paths(given) == changed and with_paths(["--config"]) == ["--config"]


@pytest.mark.processes
@pytest.mark.parametrize(
    "recipe", ["demo", "demo.py", "configs/demo.py", "rats_jax/configs/demo.py"]
)
def test_every_way_to_name_a_recipe_loads_it(recipe, tmp_path):
    folder = ROOT if "/" in recipe else tmp_path
    for flag in ([f"--config={recipe}"], ["--config", recipe]):
        done = command(*flag, "--config.model.wdth=3", cwd=folder)
        assert "config.model has no field wdth: did you mean --config.model.width?" in done.stderr
        done = command(*flag, "--config.model.width=25", f"--workdir={tmp_path}/run", cwd=folder)
        assert "config.model.width 25 is not divisible by config.model.heads 4" in done.stderr
