"""The fields of a run, their defaults, and the schedules derived from them.

There are two trees of fields: of pretraining (`rats train`) and of fine-tuning (`rats finetune`).
A recipe in `configs/` starts from `default_config()` or `finetune_config()` and changes only what
differs. Each field is
declared once, in one of the `*_fields.py` here, with its default, its documentation, the accepted
values, whether it may change on a resume, and the value that describes runs that are older than the
field. The defaults of
pretraining are those of DINO v1; fields without a common value default to zero.
"""

from collections.abc import Container

from ml_collections import ConfigDict

from rats_jax.config.checks import check
from rats_jax.config.data_fields import DATA
from rats_jax.config.dictionary_fields import DICTIONARY
from rats_jax.config.field import AUTO, AUTO_TEXT, Field
from rats_jax.config.finetune_fields import FINETUNE
from rats_jax.config.init_fields import INIT
from rats_jax.config.method_fields import CROPS, DINO, OPTIMIZER, PHOTOMETRICS
from rats_jax.config.model_fields import HEAD, MESH, MODEL, RUN_WIDE
from rats_jax.config.run_fields import EVALUATION, GUARDS, RUN
from rats_jax.config_kinds import FINETUNE as FINETUNE_COMMAND
from rats_jax.config_kinds import command_of
from rats_jax.dino.schedules import Schedules

_FIELDS = (
    *(*RUN_WIDE, *MODEL, *MESH, *HEAD),
    *(*CROPS, *PHOTOMETRICS, *DINO, *DICTIONARY, *OPTIMIZER, *INIT),
    *(*DATA, *RUN, *EVALUATION, *GUARDS),
)


def fields(config: Container = ()) -> tuple[Field, ...]:
    """All fields of the tree that a config belongs to, section by section; of pretraining without a
    config. config: a ConfigDict, or a dict of one."""
    return fields_of(command_of(config))


def fields_of(command: str) -> tuple[Field, ...]:
    """All fields of the configs that a command takes: "train" or "finetune"."""
    return FINETUNE if command == FINETUNE_COMMAND else _FIELDS


def default_config() -> ConfigDict:
    """All fields of pretraining with their defaults. The tree is locked: setting an unknown name is
    an error."""
    return _defaults(_FIELDS)


def finetune_config() -> ConfigDict:
    """As `default_config`, for fine-tuning."""
    return _defaults(FINETUNE)


def _defaults(tree: tuple[Field, ...]) -> ConfigDict:
    config = ConfigDict()
    for field in tree:
        section, _, name = field.name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[name] = field.default
    return config.lock()


def value(config: ConfigDict, field: Field):
    """The value of a field in a config."""
    for part in field.name.split("."):
        config = config[part]
    return config


def schedules(config: ConfigDict, *, images: int) -> Schedules:
    """The schedules of the recipe in steps, for a data set of `images` images. An epoch has only
    whole batches, as in the official code. The order of images continues across epochs, so that no
    image is left out."""
    optimizer, dino = config.optimizer, config.dino
    steps_per_epoch = images // optimizer.batch_size
    check(
        steps_per_epoch > 0,
        f"config.optimizer.batch_size {optimizer.batch_size} is larger than the data set "
        f"({images} images); make the batch smaller, or give more images",
    )
    steps = round(optimizer.epochs * steps_per_epoch)
    check(steps > 0, f"config.optimizer.epochs {optimizer.epochs} is less than a step; raise it")
    return Schedules(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        peak_learning_rate=optimizer.learning_rate * optimizer.batch_size / 256,
        end_learning_rate=optimizer.end_learning_rate,
        warmup_steps=round(optimizer.warmup_epochs * steps_per_epoch),
        weight_decay_start=optimizer.weight_decay,
        weight_decay_end=optimizer.end_weight_decay,
        momentum_start=dino.teacher_momentum,
        momentum_end=1.0,
        temperature_start=dino.teacher_temperature_start,
        temperature_end=dino.teacher_temperature,
        temperature_warmup_epochs=dino.teacher_temperature_warmup_epochs,
        freeze_last_layer_steps=round(dino.freeze_last_layer_epochs * steps_per_epoch),
    )


__all__ = [
    "AUTO",
    "AUTO_TEXT",
    "Field",
    "default_config",
    "fields",
    "fields_of",
    "finetune_config",
    "schedules",
    "value",
]
