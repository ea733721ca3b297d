"""The automatic settings of a run: chosen at its first start, kept in config.json after that."""

from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from rats_jax.assemble import without_automatic
from rats_jax.config.automatic import Choice, automatic_fields, table
from rats_jax.parallel.distributed import agree
from rats_jax.runs.workdir import earlier_config, flat, folder_of, load_automatic
from rats_jax.voice import say

UNKNOWN = "as it was"  # of a run whose config.json gives no reason


def choose(
    config: ConfigDict, workdir: str, *, images: int, memory: int | None
) -> tuple[ConfigDict, list[Choice]]:
    """The config with a value for each automatic field, the same in all processes, and the choices.

    images: of the data set. memory: bytes of one device, as `least_memory` returns them. A run with
    a checkpoint keeps the values of its config.json.
    """
    wanted = automatic_fields(config)
    kept = agree(_earlier(workdir, wanted) if wanted and jax.process_index() == 0 else [])
    return without_automatic(
        config,
        images=images,
        memory=memory,
        kept=[Choice(*choice) for choice in kept],
    )


def say_choices(choices: Sequence[Choice], *, images: int) -> None:
    """Reports what was chosen, and what stays as it was."""
    if kept := [choice for choice in choices if choice.kept]:
        values = ", ".join(f"{choice.field} {choice.value}" for choice in kept)
        say(f"automatic settings stay as the run began (config.json): {values}")
    if new := [choice for choice in choices if not choice.kept]:
        say(
            f"chosen automatically for {images:,} images, and kept for this run "
            f"(by hand: --config.{new[-1].field}={new[-1].value} and the like):"
        )
        for line in table(new):
            say(line)


def _earlier(path: str, wanted: set[str]) -> list[Choice]:
    """The values of a run with a checkpoint."""
    workdir = folder_of(path)
    if (config := earlier_config(workdir)) is None:
        return []
    values, reasons = flat(config.to_dict()), load_automatic(workdir)
    return [
        Choice(name, values[name], reasons.get(name, UNKNOWN), kept=True) for name in sorted(wanted)
    ]
