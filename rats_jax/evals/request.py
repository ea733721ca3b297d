"""The flags that all tasks of evaluate share, and the steps that the tasks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rats_jax.data.counted import counted, images_used
from rats_jax.errors import UserError
from rats_jax.model_flags import given_resolutions, only
from rats_jax.voice import say

__all__ = ["WHOLE_PIXELS", "Request", "images_used", "positive_rates", "say_end"]

if TYPE_CHECKING:
    from rats_jax.backbones import Backbone
    from rats_jax.models.options import Options

WHOLE_PIXELS = 224  # the default of --resolution for whole images


class Request(NamedTuple):
    """The values of the flags with these names, as given."""

    task: str
    checkpoint: str
    weights: str
    dataset: str
    output: str
    resolution: Sequence[str] | None
    untrained: bool
    skip_broken: bool
    limit: int | None

    def require(self, dataset: str, *, model: bool = True) -> None:
        """Raises UserError for the first flag without a value.

        dataset: what --dataset must name. model: whether --checkpoint is needed.
        """
        needed = {"checkpoint": "a run's workdir, or a file of weights"} if model else {}
        needed |= {"dataset": f"{dataset}, as KIND:PATH", "output": "the folder to create"}
        for flag, what in needed.items():
            if not getattr(self, flag):
                raise UserError(f"--{flag} is missing: give {what}")

    def models(self) -> dict[str, Backbone]:
        """The model of --checkpoint and, if requested, its untrained twin, by their names in the
        results."""
        from rats_jax.backbones import open_with_twin

        return open_with_twin(self.checkpoint, weights=self.weights, untrained=self.untrained)

    def resolutions(self, options: Options | None, *, usual: int | None = None) -> tuple[int, ...]:
        """See `model_flags.given_resolutions`."""
        return given_resolutions(self.resolution, options, usual=usual, what="scores")

    def one_resolution(self, options: Options | None, *, usual: int | None = None) -> int:
        """As `resolutions`, for a task that takes only one."""
        sides = self.resolutions(options, usual=usual)
        return only(sides, flag="resolution", of=f"--task={self.task}")


def positive_rates(given: Sequence[str | float]) -> tuple[float, ...]:
    """The learning rates of --learning_rates, each once. Raises UserError."""
    try:
        rates = tuple(dict.fromkeys(float(rate) for rate in given))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise UserError(
            f"--learning_rates={','.join(map(str, given))}: give positive numbers separated by "
            "commas, such as 0.003,0.01,0.03"
        )
    return rates


def say_end(skipped: Sequence[str], target: Path) -> None:
    """Prints the last lines. skipped: a line for each image left out, with the reason."""
    if skipped:
        say(f"left out: {counted(len(skipped), 'image')}, see results.json")
    say(f"results: {target}")
