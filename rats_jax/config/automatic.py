"""Automatic settings: fields whose value is chosen from the number of images and the memory.

A recipe writes `config.optimizer.batch_size = AUTO` (`AUTO_TEXT` for text), a command line
`--config.optimizer.batch_size=auto`. `resolve` replaces them before anything else reads the config.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from rats_jax.config import fields, value
from rats_jax.config.automatic_facts import Facts
from rats_jax.config.automatic_rules import RULES
from rats_jax.config.field import AUTO, AUTO_TEXT
from rats_jax.data.counted import counted
from rats_jax.errors import UserError

#: Fields that change how a step is computed and not what it computes. Each start chooses them.
OF_THE_DEVICE = ("model.remat", "optimizer.accumulation")


class Choice(NamedTuple):
    """field: SECTION.FIELD. kept: whether an earlier start of the run made the choice. because: of
    a run that had another value: the fields that were changed, on which this one depends."""

    field: str
    value: Any
    reason: str
    kept: bool = False
    because: tuple[str, ...] = ()


def automatic_fields(config: ConfigDict) -> set[str]:
    """The names of the fields that are still to be chosen."""
    return {field.name for field in fields(config) if field.is_auto(value(config, field))}


def resolve(
    config: ConfigDict,
    *,
    images: int,
    memory: int | None,
    step_bytes: Callable[[ConfigDict], int] | None,
    devices: int = 1,
    on_cpu: bool = False,
    kept: Iterable[Choice] = (),
) -> tuple[ConfigDict, list[Choice]]:
    """A copy of the config without automatic values, and what was chosen.

    images: of the data set. memory: bytes of one device; None if not known. step_bytes: the
    estimated bytes of a training step of a config on one device. devices: that the batch is split
    over. kept: what an earlier start of this run chose.
    """
    config = config.copy_and_resolve_references()
    facts = Facts(
        config=config,
        images=images,
        devices=devices,
        memory=memory,
        step_bytes=step_bytes,
        on_cpu=on_cpu,
    )
    open_fields = automatic_fields(config)
    if "optimizer.batch_size" in open_fields:
        _check_enough_images(facts)
    choices = {choice.field: choice for choice in kept if choice.field in open_fields}
    config.update_from_flattened_dict({name: choice.value for name, choice in choices.items()})
    open_fields = automatic_fields(config)
    for rule in RULES:
        if rule.field in open_fields:
            chosen, reason = rule.choose(facts)
            config.update_from_flattened_dict({rule.field: chosen})
            choices[rule.field] = Choice(rule.field, chosen, reason)
    return config, [choices[rule.field] for rule in RULES if rule.field in choices]


def changed_by(changed: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The automatic fields that depend on changed ones, with those that they depend on."""
    changed, found = set(changed), {}
    for rule in RULES:
        if because := tuple(name for name in rule.reads if name in changed):
            found[rule.field] = because
    return found


def _check_enough_images(facts: Facts) -> None:
    parts = max(facts.config.optimizer.accumulation, 1)
    if facts.images < facts.devices * parts:
        in_parts = f", and config.optimizer.accumulation is {parts}" if parts > 1 else ""
        devices, need = counted(facts.devices, "device"), facts.devices * parts
        raise UserError(
            f"config.data has {counted(facts.images, 'image')} and there "
            f"{'is' if facts.devices == 1 else 'are'} {devices}{in_parts}: a batch takes at least "
            f"{counted(need, 'image')}, so give more images or fewer devices "
            "(CUDA_VISIBLE_DEVICES)"
        )


def table(choices: Sequence[Choice]) -> list[str]:
    """Lines with field, value and reason, aligned."""
    rows = [(choice.field, _shown(choice.value), choice.reason) for choice in choices]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    return [f"  {field:{widths[0]}}  {shown:>{widths[1]}}  {why}" for field, shown, why in rows]


def _shown(chosen: object) -> str:
    if isinstance(chosen, int):
        return f"{chosen:,}"
    return f"{chosen:g}" if isinstance(chosen, float) else str(chosen)


__all__ = ["AUTO", "AUTO_TEXT", "Choice", "automatic_fields", "changed_by", "resolve", "table"]
