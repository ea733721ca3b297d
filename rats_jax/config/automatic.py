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

#: Fields that change how a step is computed and not what it computes. Where a step with the kept
#: values would not fit, they are chosen again.
OF_THE_DEVICE = ("model.remat", "optimizer.accumulation")


class Choice(NamedTuple):
    """field: SECTION.FIELD. kept: whether an earlier start of the run made the choice."""

    field: str
    value: Any
    reason: str
    kept: bool = False


def automatic_fields(config: ConfigDict) -> set[str]:
    """The names of the fields that are still to be chosen."""
    return {field.name for field in fields() if field.is_auto(value(config, field))}


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
    choices = {choice.field: choice for choice in kept if choice.field in open_fields}
    config.update_from_flattened_dict({name: choice.value for name, choice in choices.items()})
    if choices and not automatic_fields(config) and facts.too_large:
        for name in choices.keys() & set(OF_THE_DEVICE):
            auto = AUTO_TEXT if isinstance(choices[name].value, str) else AUTO
            config.update_from_flattened_dict({name: auto})
    open_fields = automatic_fields(config)
    for rule in RULES:
        if rule.field in open_fields:
            chosen, reason = rule.choose(facts)
            config.update_from_flattened_dict({rule.field: chosen})
            choices[rule.field] = Choice(rule.field, chosen, reason)
    return config, [choices[rule.field] for rule in RULES if rule.field in choices]


def table(choices: Sequence[Choice]) -> list[str]:
    """Lines with field, value and reason, aligned."""
    rows = [(choice.field, _shown(choice.value), choice.reason) for choice in choices]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    return [f"  {field:{widths[0]}}  {shown:>{widths[1]}}  {why}" for field, shown, why in rows]


def _shown(chosen: object) -> str:
    if isinstance(chosen, int):
        return f"{chosen:,}"
    return f"{chosen:g}" if isinstance(chosen, float) else str(chosen)


__all__ = ["AUTO", "AUTO_TEXT", "Choice", "automatic_fields", "resolve", "table"]
