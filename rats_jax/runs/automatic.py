"""The automatic settings of a run: chosen at its first start, kept in config.json after that."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from rats_jax.assemble import without_automatic
from rats_jax.config import fields
from rats_jax.config.automatic import (
    OF_THE_DEVICE,
    Choice,
    automatic_fields,
    changed_by,
    table,
)
from rats_jax.data.counted import counted
from rats_jax.parallel.distributed import agree
from rats_jax.runs.workdir import as_json, earlier_config, flat, folder_of, load_automatic
from rats_jax.voice import say

UNKNOWN = "as it was"  # of a run whose config.json gives no reason
#: What most other settings follow, as an example of a field to set by hand.
LEADING = ("optimizer.epochs", "optimizer.batch_size")


def choose(
    config: ConfigDict, workdir: str, *, images: int, memory: int | None
) -> tuple[ConfigDict, list[Choice]]:
    """The config with a value for each automatic field, the same in all processes, and the choices.

    images: of the data set. memory: bytes of one device, as `least_memory` returns them. A run with
    a checkpoint keeps the values of its config.json, but for `OF_THE_DEVICE` and what depends on
    fields that have other values now.
    """
    wanted = automatic_fields(config)
    kept, again = agree(
        _earlier(folder_of(workdir), config, wanted)
        if wanted and jax.process_index() == 0
        else ([], {})
    )
    config, choices = without_automatic(
        config, images=images, memory=memory, kept=[Choice(*choice) for choice in kept]
    )
    return config, [
        choice._replace(because=tuple(again.get(choice.field, ()))) for choice in choices
    ]


def say_choices(choices: Sequence[Choice], *, images: int) -> None:
    """Reports what was chosen, and what stays as it was."""
    again = [choice for choice in choices if choice.because]
    resumed = any(choice.kept for choice in choices) or again
    if any(choice.kept for choice in choices):
        what = "the other automatic settings" if again else "automatic settings"
        say(f"{what} stay as they were at the first start: see config.json")
    if again:
        changed = sorted({f"config.{name}" for choice in again for name in choice.because})
        values = ", ".join(f"{choice.field} {choice.value}" for choice in again)
        were = "was" if len(changed) == 1 else "were"
        say(f"chosen again, because {' and '.join(changed)} {were} changed: {values}")
    new = [choice for choice in choices if not (choice.kept or choice.because)]
    if resumed:
        new = [choice for choice in new if choice.field not in OF_THE_DEVICE]
    if new:
        chosen = {choice.field: choice.value for choice in new}
        example = next((name for name in LEADING if name in chosen), new[-1].field)
        say(
            f"chosen automatically for {counted(images, 'image')}, and kept for this run (by hand: "
            f"--config.{example}={chosen[example]} and the like):"
        )
        for line in table(new):
            say(line)


def _earlier(workdir: Path, config: ConfigDict, wanted: set[str]) -> tuple[list, Mapping]:
    """Of a run with a checkpoint: the values to keep, and the fields to choose again with the
    changed fields that they depend on."""
    if (was := earlier_config(workdir)) is None:
        return [], {}
    values, reasons = flat(as_json(was)), load_automatic(workdir)
    now = flat(as_json(config))
    changed = {n for n in now.keys() - wanted if n in values and values[n] != now[n]}
    fixed = {field.name for field in fields(config) if field.fixed}
    again = {name: x for name, x in changed_by(changed).items() if name in wanted - fixed}
    kept = [
        Choice(name, values[name], reasons.get(name, UNKNOWN), kept=True)
        for name in sorted(wanted - again.keys() - set(OF_THE_DEVICE))
    ]
    return kept, again
