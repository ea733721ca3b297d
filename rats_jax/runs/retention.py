"""Which checkpoints stay."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise


def staying(
    steps: Sequence[int],
    value: Callable[[int], float | None],
    *,
    newest: int,
    every: int,
    best: int,
    highest: bool,
) -> set[int]:
    """Of the rising `steps`: the newest; the first at or after each multiple of `every`, if not 0;
    and the best by `value`, of equal ones the later, and never one that is None."""
    stay = set(steps[-newest:])
    if every:
        periods = [0, *(step // every for step in steps)]
        begins = (a != b for a, b in pairwise(periods))
        stay.update(step for step, first in zip(steps, begins, strict=True) if first)
    if best:
        known = [step for step in steps if value(step) is not None]
        stay.update(sorted(known, key=partial(rank, value=value, highest=highest))[-best:])
    return stay


def rank(
    step: int, *, value: Callable[[int], float | None], highest: bool
) -> tuple[bool, float, int]:
    """Larger for better: by the value, of equal ones the later; those without one come last."""
    known = value(step)
    return known is not None, (known or 0.0) * (1 if highest else -1), step
