"""The flags that all tasks of evaluate share, and the steps that the tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.voice import say

if TYPE_CHECKING:
    from rats_jax.backbones import Backbone
    from rats_jax.models.options import Options

PARTS_PIXELS, WHOLE_PIXELS = 512, 224  # the usual resolutions: for parts, and for whole images


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
        from rats_jax.backbones import open_backbone

        backbone = open_backbone(self.checkpoint, weights=self.weights)
        say(backbone.origin)
        if not self.untrained:
            return {"model": backbone}
        if backbone.config is None:
            raise UserError("--untrained needs a run, whose config defines the untrained model")
        return {"model": backbone, "untrained": backbone.before_training()}

    def resolutions(self, options: Options, *, usual: int) -> tuple[int, ...]:
        """The values of --resolution in ascending order. Warns of those far from the resolution in
        training; raises UserError for one that the model does not accept.

        options: of the backbone. usual: the default.
        """
        from rats_jax.resolution import LARGEST, distance_warning

        given, patch = self.resolution or [str(usual)], options.patch
        for side in given:
            if not side.strip().isdecimal() or not 1 <= int(side) <= LARGEST:
                raise UserError(
                    f"--resolution={','.join(given)}: give pixels, such as {usual}, at most "
                    f"{LARGEST:,}"
                )
            if int(side) % patch:
                nearest = max(round(int(side) / patch), 1) * patch
                raise UserError(
                    f"--resolution={side} is not a multiple of the patch size ({patch}); the "
                    f"nearest is {nearest}"
                )
        sides = tuple(sorted({int(side) for side in given}))
        for warning in filter(None, (distance_warning(s, options, what="scores") for s in sides)):
            say(warning)
        return sides

    def one_resolution(self, options: Options, *, usual: int) -> int:
        """As `resolutions`, for a task that takes only one."""
        resolution, *more = self.resolutions(options, usual=usual)
        if more:
            raise UserError(f"--task={self.task} takes only one --resolution: give one")
        return resolution


def images_used(count: int, whole: int) -> str:
    """Text for the number of images that are used, of all."""
    if count == whole:
        return f"{count:,} images"
    return f"{count:,} of {whole:,} images, evenly spaced (--limit)"


def say_end(skipped: Sequence[str], target: Path) -> None:
    """Prints the last lines. skipped: a line for each image left out, with the reason."""
    if skipped:
        say(f"left out: {counted(len(skipped), 'image')}, see results.json")
    say(f"results: {target}")
