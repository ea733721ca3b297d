"""What is declared of a config field, and what is made of it."""

import json
from pathlib import Path

import pytest

from rats_jax import config as config_module
from rats_jax.config import default_config, fields, value
from rats_jax.config.checks import POSITIVE, one_of
from rats_jax.config.field import Field
from rats_jax.config.old_runs import is_fixed, with_old_fields
from rats_jax.errors import UserError
from rats_jax.runs.workdir import changes, flat
from rats_jax.validation import validate
from tests.runs.tiny import tiny_config

OLD_CONFIG = Path(__file__).parent / "fixtures" / "209fa2c" / "run" / "config.json"
BY_NAME = {field.name: field for field in fields()}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_field_is_documented_and_its_default_accepted(name):
    field = BY_NAME[name]
    assert field.text.endswith(".") and field.text[0] != " " and "  " not in field.text
    assert field.check is None or field.check.problem(field.default) is None
    assert field.old_runs is None or type(field.old_runs) is field.type


def test_the_default_config_has_every_field_once_and_is_locked():
    config = default_config()
    assert sorted(flat(config.to_dict())) == sorted(field.name for field in fields())
    assert len(BY_NAME) == len(fields())
    assert all(value(config, field) == field.default for field in fields())
    with pytest.raises(AttributeError, match="locked"):
        config.model.widht = 3
    with pytest.raises(TypeError):
        config.model.width = "3"


def test_a_run_that_an_old_version_started_lacks_no_field():
    """A field that is new needs `old_runs`: else old runs could not be resumed, or silently do
    something else."""
    old = json.loads(OLD_CONFIG.read_text())
    missing = BY_NAME.keys() - flat(old).keys()
    assert missing >= {"model.kernel_std", "data.accept", "evaluation.centered"}
    assert BY_NAME.keys() == flat(with_old_fields(old)).keys()
    assert old["model"]["kernel_std"] == 0.02 and old["evaluation"]["centered"] is False


def test_what_an_old_run_says_itself_is_kept():
    assert with_old_fields({"model": {"register_std": 0.5}})["model"]["register_std"] == 0.5
    assert with_old_fields({"model": {}})["model"]["register_std"] == 0.02


def test_the_fields_that_may_change_on_a_resume():
    """Of those that a run of 209fa2c has, they stay what they were: they set no shape, and no
    checkpoint holds what was made of them."""
    names = flat(json.loads(OLD_CONFIG.read_text())).keys()
    free = {name for name in names if not is_fixed(name)}
    in_model = {name for name in free if name.startswith(("model.", "head."))}
    assert in_model == {f"model.{n}" for n in ("drop_path", "position_offset", "remat", "unroll")}
    fixed = {name for name in names - free if not name.startswith(("model.", "head."))}
    assert fixed == {"seed", "crops.global_size", "dino.loss_scope"}
    assert {f.name for f in fields() if f.may_change_on_resume} & names == free
    assert is_fixed("model.of_a_later_version") and not is_fixed("data.of_a_later_version")


@pytest.fixture
def with_new(monkeypatch):
    """Adds fields as one would declare them."""

    def add(*new: Field) -> None:
        monkeypatch.setattr(config_module, "_FIELDS", (*config_module._FIELDS, *new))

    return add


def test_a_declaration_is_all_that_a_field_takes(with_new, tmp_path):
    with_new(
        Field("dino.noise", 0.5, "Noise.", check=POSITIVE, fixed=True, old_runs=0.1),
        Field("run.mood", "calm", "Mood.", check=one_of("calm", "wild"), silent=True),
    )
    config = tiny_config(dino__noise=0.2, run__mood="wild")
    validate(config)
    with pytest.raises(UserError, match=r"^config\.dino\.noise is 0\.0: it must be over 0$"):
        validate(tiny_config(dino__noise=0.0))
    with pytest.raises(UserError, match=r"^config\.run\.mood is 'sad': choose one of calm, wild$"):
        validate(tiny_config(run__mood="sad"))
    assert with_old_fields({"dino": {}})["dino"] == {"noise": 0.1}
    assert changes(tiny_config(dino__noise=0.2), config, tmp_path) == []
    with pytest.raises(UserError, match=r"config\.dino\.noise is 0\.5 there and 0\.2 here"):
        changes(tiny_config(), config, tmp_path)
