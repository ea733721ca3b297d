"""The flags --resolution and --top_k: all commands that have them declare and read them here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from rats_jax.errors import UserError
from rats_jax.voice import say

if TYPE_CHECKING:
    from rats_jax.models.options import Options


flags.disclaim_key_flags()  # --help of an entry point lists the flags that it defines through here


def define_resolution(sides: str, more: str = "") -> flags.FlagHolder:
    """sides: of which sides of the image. more: what else --help says of this command's flag."""
    return flags.DEFINE_list(
        "resolution",
        None,
        f"Pixels of {sides} of an image as the model sees it, a multiple of its patch size. By "
        "default 512; closer to the training resolution for a model that was trained at a very "
        "different one." + more,
    )


def define_top_k(text: str) -> flags.FlagHolder:
    """text: the default."""
    return flags.DEFINE_list("top_k", None, f"Number of regions. By default {text}")


def given_resolutions(
    given: Sequence[str] | None,
    options: Options | None,
    *,
    usual: int | None = None,
    what: str = "maps",
) -> tuple[int, ...]:
    """The values of --resolution in ascending order. Warns of those far from the resolution in
    training; raises UserError for one that the model does not accept.

    options: of the backbone; None without a model, for cells of 16 pixels. usual: the default; by
    default `default_resolution`. what: the results that a resolution far from that in training
    affects, in the plural.
    """
    from rats_jax.resolution import CELL, LARGEST, USUAL, default_resolution, distance_warning

    patch = options.patch if options else CELL
    default = default_resolution(options) if options else USUAL
    given = given or [str(usual or default)]
    sides = sorted({_whole(side) for side in given})
    for side in sides:
        if not 1 <= side <= LARGEST:
            raise UserError(
                f"--resolution={','.join(given)}: give pixels, such as {usual or USUAL}, at most "
                f"{LARGEST:,}"
            )
        if side % patch:
            nearest = max(round(side / patch), 1) * patch
            raise UserError(
                f"--resolution={side} is not a multiple of the patch size ({patch}); the nearest "
                f"is {nearest}"
            )
    for side in sides:
        if options and (warning := distance_warning(side, options, what=what)):
            say(warning)
    return tuple(sides)


def given_top_k(given: Sequence[str] | None) -> list[int] | None:
    """The values of --top_k as numbers, 0 for a text that is no number; None without the flag."""
    return None if given is None else [_whole(k) for k in given or [""]]


def only(values: Sequence[int], *, flag: str, of: str) -> int:
    """The value of a flag that takes several in other cases. Raises UserError.

    of: the command or the task that takes one.
    """
    value, *more = values
    if more:
        raise UserError(f"{of} takes only one --{flag}: give one")
    return value


def _whole(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0
