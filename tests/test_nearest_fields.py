"""Which fields a wrong name may mean."""

import pytest

from rats_jax.config import fields
from rats_jax.nearest_fields import nearest_fields

NAMES = [field.name for field in fields()]
NEAREST = {
    "optimizer.batchsize": ["optimizer.batch_size"],
    "optimizer.Batch-Size": ["optimizer.batch_size"],
    "optimiser.batch_size": ["optimizer.batch_size"],
    "batch_size": ["optimizer.batch_size"],
    "batch": ["optimizer.batch_size", "model.patch"],
    "lr": ["optimizer.learning_rate", "init.learning_rate"],
    "model.wdth": ["model.width"],
    "crops.size": ["model.size", "data.size"],
    "crops.seed": ["seed", "data.seed"],
    "data.sead": ["data.seed", "seed"],
    "temperature": ["dictionary.temperature"],
    "teacher": [
        "dino.teacher_momentum",
        "dino.teacher_temperature",
        "dino.teacher_temperature_start",
    ],
    "optimizer.learnin_rate": [
        "optimizer.learning_rate",
        "init.learning_rate",
        "optimizer.end_learning_rate",
    ],
    "s": [],
    "zzz": [],
    "optimizer.": [],
    "": [],
}


@pytest.mark.parametrize("name", NEAREST)
def test_the_nearest_fields(name):
    assert nearest_fields(name, NAMES) == NEAREST[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_field_with_a_wrong_section_is_the_nearest(name):
    assert nearest_fields(f"wrong.{name.rpartition('.')[2]}", NAMES)[0].endswith(
        name.rpartition(".")[2]
    )
    assert nearest_fields(name.upper(), NAMES)[0] == name
