"""The config tree of fine-tuning, its recipes and checks, and that the two trees stay apart."""

import json
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

import rats_jax
from rats_jax.config import default_config, fields, finetune_config, value
from rats_jax.config.old_runs import is_fixed, with_old_fields
from rats_jax.config_arguments import with_auto
from rats_jax.config_errors import explain, explain_flag
from rats_jax.config_flag import load_recipe
from rats_jax.config_kinds import FINETUNE, TRAIN, command_of
from rats_jax.configs import FOLDERS, recipe_file, recipe_names
from rats_jax.errors import UserError
from rats_jax.field_list import field_list
from rats_jax.finetune_validation import check_backbone
from rats_jax.models.options import PerceiverOptions, RATSOptions, ViTOptions
from rats_jax.runs.workdir import changes, flat, load_config, write_config
from rats_jax.validation import validate
from tests.runs.tiny import tiny_config

TREE = fields(finetune_config())
RECIPES = recipe_names(FINETUNE)
RATS = RATSOptions(width=64, depth=4, heads=4, registers_per_head=4)
VIT = ViTOptions(width=64, depth=4, heads=4)


def changed(**values) -> ConfigDict:
    """The defaults with changes: `section__field`."""
    config = finetune_config()
    config.update_from_flattened_dict({k.replace("__", "."): x for k, x in values.items()})
    return config


@pytest.mark.parametrize("field", TREE, ids=lambda field: field.name)
def test_a_field_is_documented_and_its_default_accepted(field):
    assert field.text.endswith(".") and field.text[0] != " " and "  " not in field.text
    assert field.check is None or field.check.problem(field.default) is None
    assert not field.automatic and field.old_runs is None  # no rule chooses it, no run lacks it


def test_the_config_has_every_field_once_and_is_locked():
    config = finetune_config()
    assert sorted(flat(config.to_dict())) == sorted(field.name for field in TREE)
    assert all(value(config, field) == field.default for field in TREE)
    with pytest.raises(AttributeError, match="locked"):
        config.model.size = "S"


def test_fields_that_both_trees_have_are_of_one_type():
    types = {field.name: field.type for field in fields()}
    assert all(types.get(field.name, field.type) is field.type for field in TREE)


def test_a_config_belongs_to_one_tree():
    trees = {TRAIN: default_config(), FINETUNE: finetune_config()}
    for command, config in trees.items():
        assert command_of(config) == command_of(config.to_dict()) == command
        assert set(flat(config.to_dict())) == {field.name for field in fields(config)}
    assert not set(RECIPES) & set(recipe_names()) and "masks" in RECIPES
    assert recipe_file("coco") == FOLDERS[FINETUNE] / "coco.py"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_its_help_lists_every_field(name):
    config = load_recipe(name)
    validate(config)
    text = field_list(config, name)
    assert all(f"--config.{field.name}=" in text for field in TREE)


def test_the_recipes_of_table_2():
    ade, coco = load_recipe("ade20k"), load_recipe("coco")
    assert (ade.task, ade.optimizer.steps, ade.optimizer.schedule) == ("semantic", 160_000, "poly")
    assert (ade.data.crop, ade.data.resize, tuple(ade.data.scale)) == (512, "short_side", (0.5, 2))
    assert (coco.task, coco.optimizer.steps, coco.data.crop) == ("instance", 368_750, 1024)
    assert tuple(coco.optimizer.milestones) == (327_778, 355_092)
    assert (coco.data.resize, tuple(coco.data.scale)) == ("inside", (0.1, 2.0))
    assert (coco.evaluation.short_side, coco.evaluation.long_side) == (800, 1333)
    assert not coco.data.color and ade.data.color
    for config in (ade, coco):
        assert (config.optimizer.batch_size, config.optimizer.learning_rate) == (8, 1e-4)
        assert (config.optimizer.backbone_rate, config.optimizer.clip) == (0.1, 0.01)
        assert config.optimizer.weight_decay == 0.05 and config.loss.points == 12_544


MISTAKES = [
    ({"task": "panoptic"}, r"config\.task is 'panoptic': choose one of semantic, instance"),
    ({"decoder__name": "linear", "task": "instance"}, "linear labels pixels and cannot separate"),
    ({"decoder__name": "registers", "compute_dtype": "float16"}, "use bfloat16 with registers"),
    ({"mesh__fsdp": 2}, r"config\.mesh\.fsdp is for the decoders registers and linear"),
    ({"mesh__data": 2}, r"config\.mesh\.data is for the decoders registers and linear"),
    ({"decoder__heads": 7}, r"width 256 is not divisible by config\.decoder\.heads 7"),
    ({"decoder__upscale": 3}, "choose one of 1, 2, 4, 8"),
    ({"optimizer__warmup_steps": 160_000}, "shorten the one or lengthen the other"),
    ({"optimizer__schedule": "steps"}, r"milestones is empty: .* such as \(142222,154074\)"),
    (
        {"optimizer__schedule": "steps", "optimizer__milestones": (9, 160_000)},
        r"milestones \(9, 160000\) go beyond config\.optimizer\.steps 160000",
    ),
    ({"optimizer__milestones": (9, 3)}, "in rising order"),
    ({"optimizer__milestones": (0.5,)}, "whole numbers over 0"),
    ({"optimizer__accumulation": 3}, "batch_size 8 cannot be computed in .* 3 equal parts"),
    ({"model__freeze": "backbone", "optimizer__layer_decay": 0.8}, "layer_decay 0.8 has no effect"),
    ({"model__freeze": "backbone", "model__drop_path": 0.1}, "makes a frozen backbone random"),
    ({"optimizer__layer_decay": 1.5}, "over 0, and 1 at most"),
    ({"task": "instance"}, r"semantic/miou is not measured with .*run\.best_metric=instance/ap_m"),
    ({"evaluation__long_side": 100}, r"short_side 512 is longer than .*long_side 100"),
    ({"data__scale": (2.0, 0.5)}, "low comes first"),
    ({"data__scale": (0.0, 0.5)}, "cannot be resized to nothing"),
    ({"data__classes": ("wall", "")}, "holds '': names or ids as text"),
    ({"data__classes": (3,)}, "holds 3: names or ids as text"),
    ({"data__classes": ("wall", "wall")}, "holds 'wall' twice"),
    ({"loss__importance": 2.0}, "from 0 to 1"),
    ({"loss__oversample": 0.5}, r"oversample is 0\.5: 1 is the least"),
    (
        {"loss__class_weight": 0.0, "loss__mask_weight": 0.0, "loss__dice_weight": 0.0},
        "are all 0, so nothing would be trained",
    ),
    ({"run__best_metric": "semantic/mIoU"}, r"set .*=semantic/miou, or one of semantic/aa"),
    ({"run__best_metric": "kl"}, "kl is not measured with"),
]


@pytest.mark.parametrize(("values", "message"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_a_mistake_is_named_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as error:
        validate(changed(**values))
    assert "\n" not in str(error.value)


def test_what_is_no_mistake():
    validate(changed(mesh__fsdp=2, mesh__data=4, decoder__name="registers"))
    validate(changed(compute_dtype="float16"))
    validate(changed(run__best_metric="loss"))
    validate(changed(mesh__data=1, decoder__heads=4))
    validate(changed(decoder__name="linear", decoder__heads=7))  # which linear does not have


BACKBONES = [
    (
        {},
        VIT,
        "queries=registers needs a backbone with registers, and this ViT has none: .*learned",
    ),
    ({"decoder__name": "registers"}, VIT, "name=registers needs a backbone with registers"),
    ({"data__crop": 500}, RATS, "crop 500 is not a multiple of .* 16 pixels; the nearest is 496"),
    ({"decoder__name": "registers", "decoder__supervised": 5}, RATS, "choose 4 or fewer"),
    (
        {"model__parallel": "none"},
        RATSOptions(width=64, depth=4, heads=4, parallel="separate"),
        "parallel is none, and this RATS .* was trained with separate: set config.model.parallel=",
    ),
    (
        {"decoder__name": "registers"},
        PerceiverOptions(width=64, depth=4, heads=4),
        "last 1 blocks of this Perceiver",
    ),
]


@pytest.mark.parametrize(("values", "options", "message"), BACKBONES)
def test_a_backbone_that_does_not_fit_is_refused(values, options, message):
    with pytest.raises(UserError, match=message):
        check_backbone(changed(**values), options)


def test_backbones_that_fit(capsys):
    registers = ViTOptions(width=64, depth=4, heads=4, plain_registers=4)
    check_backbone(changed(), RATS)
    check_backbone(changed(decoder__queries="learned", model__parallel="none"), VIT)
    check_backbone(changed(decoder__name="linear", model__parallel="none"), VIT)
    assert capsys.readouterr().out == ""
    check_backbone(changed(decoder__name="registers"), registers)
    said = capsys.readouterr().out
    assert said == "config.model.parallel has no effect: only RATS has it, not a ViT\n"


def test_a_recipe_of_the_other_command_is_one_line():
    other = "is a config of rats finetune, not of rats train: use that command, or name a recipe"
    assert other in explain(["--config=ade20k", "--config.model.size=B"], TRAIN)
    other = "--config=demo is a config of rats train, not of rats finetune: use that command, or"
    assert explain(["--config=demo", "--config.task=instance"], FINETUNE).startswith(other)
    assert explain(["--config=coco", "--config.optimizer.steps=3"], FINETUNE) is None
    with pytest.raises(UserError, match="^this config is a config of rats finetune"):
        rats_jax.run_training(finetune_config(), "unused")
    missing = explain(["--config=nowhere"], FINETUNE)
    assert missing.endswith(f"one of the package: {', '.join(RECIPES)}")
    assert explain([], FINETUNE) is None


def test_wrong_names_and_auto_mean_fields_of_the_commands_tree(monkeypatch):
    flags = SimpleNamespace(FLAGS={"config": None})
    monkeypatch.setattr("rats_jax.config_errors.flags", flags)
    near = "did you mean --config.optimizer.backbone_rate?"
    assert near in explain_flag("backbone-rate", FINETUNE)
    assert near not in explain_flag("backbone-rate", TRAIN)
    given = ["--config.run.log_every=auto"]
    assert with_auto(given, TRAIN) != given and with_auto(given, FINETUNE) == given


def test_config_json_of_a_run_is_read_and_compared_in_its_own_tree(tmp_path):
    write_config(tmp_path, finetune_config())
    tree = json.loads((tmp_path / "config.json").read_text())
    assert flat(with_old_fields(tree)).keys() == {field.name for field in TREE}
    was = load_config(tmp_path)
    assert changes(was, changed(model__checkpoint="elsewhere"), tmp_path) == []
    line = "config.optimizer.steps was 160000 and is 10 from now on"
    assert changes(was, changed(optimizer__steps=10), tmp_path) == [line]
    for fixed in ({"decoder__width": 128}, {"task": "instance"}, {"model__random": True}):
        with pytest.raises(UserError, match="contains a different run: config"):
            changes(was, changed(**fixed), tmp_path)
    with pytest.raises(UserError, match="contains a run of rats finetune: choose another"):
        changes(was, tiny_config(), tmp_path)
    assert is_fixed("decoder.of_a_later_version", was) and is_fixed("task", was)
    assert not is_fixed("decoder.supervised", was)
