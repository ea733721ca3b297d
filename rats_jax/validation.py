"""Checks a config before anything starts, and reports the first error in one line.

Checks of one field are declared with the field, in `rats_jax.config`. Checks that depend on several
fields are here, and for fine-tuning in `rats_jax.finetune_validation`.
"""

from ml_collections import ConfigDict

from rats_jax.config import AUTO, fields, value
from rats_jax.config.checks import check, one_of
from rats_jax.config.imported import imported_options
from rats_jax.config_kinds import FINETUNE, command_of
from rats_jax.data.source_kinds import SOURCES
from rats_jax.errors import UserError
from rats_jax.finetune_validation import check_fields
from rats_jax.models.options import OPTIONS


def validate(config: ConfigDict) -> None:
    """Raises UserError for the first field with a value that is not valid. Automatic values that
    are still to be chosen are valid."""
    for field in fields(config):
        given = value(config, field)
        if field.is_auto(given):
            continue
        if field.check and (problem := field.check.problem(given)):
            raise UserError(f"config.{field.name} {problem}")
    check_fields(config) if command_of(config) == FINETUNE else _check_pretraining(config)


def _check_pretraining(config: ConfigDict) -> None:
    model, crops, optimizer = config.model, config.crops, config.optimizer
    check(
        model.width % model.heads == 0,
        f"config.model.width {model.width} is not divisible by config.model.heads {model.heads}",
    )
    for name in ("global_size", "local_size"):
        nearest = max(round(crops[name] / model.patch), 1) * model.patch
        check(
            crops[name] == nearest,
            f"config.crops.{name} {crops[name]} is not a multiple of config.model.patch "
            f"{model.patch}; the nearest is {nearest}",
        )
    check(
        config.data.canvas >= crops.global_size,
        f"config.data.canvas {config.data.canvas} is smaller than config.crops.global_size "
        f"{crops.global_size}: crops would be enlarged from it",
    )
    check(
        config.dino.loss_scope == "all" or OPTIONS[model.architecture].registers_by_head,
        "config.dino.loss_scope=head needs registers owned by heads: "
        "set config.model.architecture=rats or config.dino.loss_scope=all",
    )
    kind = OPTIONS[model.architecture]
    has_registers = kind.registers_in_every_layer and (
        model.architecture != "vit" or model.plain_registers
    )
    check(
        not config.dictionary.entries or has_registers,
        f"config.dictionary.entries {config.dictionary.entries} needs registers in every layer: "
        "set config.model.architecture=rats, or vit with config.model.plain_registers, or "
        "config.dictionary.entries=0",
    )
    foreign = imported_options(model.imported).keys() - {*kind.imported, "mlp_ratio"}
    check(
        not foreign,
        f"config.model.imported has {', '.join(sorted(foreign))}, which a {model.architecture} "
        "does not have: leave it out",
    )
    least = kind.least_depth
    check(
        model.depth >= least,
        f"config.model.depth {model.depth}: a {model.architecture} has at least {least} layers",
    )
    check(
        optimizer.warmup_epochs < optimizer.epochs or optimizer.epochs == AUTO,
        f"config.optimizer.warmup_epochs {optimizer.warmup_epochs} is not below "
        f"config.optimizer.epochs {optimizer.epochs}; shorten the one or lengthen the other",
    )


def validate_source(config: ConfigDict) -> None:
    """As `validate`, for the fields that select the training images."""
    data = config.data
    if problem := one_of(*SOURCES).problem(data.source):
        raise UserError(f"config.data.source {problem}")
    for name, remedy in SOURCES[data.source].needs.items():
        given = "empty" if data[name] == "" else data[name]
        check(data[name], f"config.data.{name} is {given}: {remedy}")
