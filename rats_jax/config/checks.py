"""Checks of the value of one config field, with the message for a value that is not valid."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rats_jax.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Check:
    """values: the accepted values in words, for the documentation.
    problem: returns what is wrong with a value, or None if it is valid. The message to the user is
    `config.NAME PROBLEM`."""

    values: str
    problem: Callable[[Any], str | None]


def check(condition: object, message: str) -> None:
    """Raises UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


def one_of(*choices: str) -> Check:
    listed = ", ".join(choices)
    return Check(
        values=f"one of {listed}",
        problem=lambda x: None if x in choices else f"is {x!r}: choose one of {listed}",
    )


def one_of_or_empty(*choices: str) -> Check:
    among = one_of(*choices)
    return Check(
        values=f"{among.values}, or empty",
        problem=lambda x: among.problem(x) if x != "" else None,
    )


def below(limit: int) -> Check:
    """A check for whole numbers from 0 up to, but not including, the limit."""

    def problem(value) -> str | None:
        if value >= limit:
            return f"is {value}: choose one below {limit}"
        return NOT_NEGATIVE.problem(value)

    return Check(values=f"0 or more, below {limit}", problem=problem)


def within(low: int, high: int, *, unit: str) -> Check:
    return Check(
        values=f"from {low} to {high} {unit}",
        problem=lambda x: (
            None if low <= x <= high else f"is {x}: choose from {low} to {high} {unit}"
        ),
    )


def _positive(value) -> str | None:
    return _finite(value) if value > 0 else f"is {value}: it must be over 0"


def _not_negative(value) -> str | None:
    return _finite(value) if value >= 0 else f"is {value}: 0 is the least"


def _finite(value) -> str | None:
    return None if math.isfinite(value) else f"is {value}: choose a finite number"


def _at_least_one(value) -> str | None:
    return _finite(value) if value >= 1 else f"is {value}: 1 is the least"


def _share(value) -> str | None:
    return None if 0 <= value <= 1 else f"is {value}: choose a number from 0 to 1"


def _up_to_one(value) -> str | None:
    return None if 0 < value <= 1 else f"is {value}: choose a number over 0, and 1 at most"


def _below_one(value) -> str | None:
    return None if 0 <= value < 1 else f"{value} is not in [0, 1)"


def _pair(value) -> str | None:
    if len(value) == 2 and all(isinstance(x, int | float) for x in value):
        return None
    return f"is {tuple(value)}: two numbers are meant, such as (0.1, 0.5)"


def _areas(value) -> str | None:
    if problem := _pair(value):
        return problem
    low, high = value
    if 0 < low <= high <= 1:
        return None
    return f"is ({low}, {high}): shares of the image's area, low first"


def _range(value) -> str | None:
    if problem := _pair(value):
        return problem
    low, high = value
    return None if 0 <= low <= high else f"is ({low}, {high}): low comes first"


def _steps(value) -> str | None:
    if all(type(x) is int and x > 0 for x in value) and list(value) == sorted(set(value)):
        return None
    return f"is {tuple(value)}: whole numbers over 0 are meant, in rising order"


def _classes(value) -> str | None:
    if wrong := [x for x in value if type(x) is not str or not x]:
        return f'holds {wrong[0]!r}: names or ids as text are meant, such as ("wall","12")'
    double = [x for x in value if list(value).count(x) > 1]
    return f"holds {double[0]!r} twice" if double else None


def _probabilities(value) -> str | None:
    if problem := _pair(value):
        return problem
    wrong = [x for x in value if not 0 <= x <= 1]
    return f"holds {wrong[0]}: probabilities are meant" if wrong else None


POSITIVE = Check(values="more than 0", problem=_positive)
NOT_NEGATIVE = Check(values="0 or more", problem=_not_negative)
AT_LEAST_ONE = Check(values="1 or more", problem=_at_least_one)
SHARE = Check(values="from 0 to 1", problem=_share)
UP_TO_ONE = Check(values="more than 0, 1 at most", problem=_up_to_one)
BELOW_ONE = Check(values="from 0 to less than 1", problem=_below_one)
AREAS = Check(values="two shares of the image's area, low first", problem=_areas)
RANGE = Check(values="two numbers of 0 or more, low first", problem=_range)
STEPS = Check(values="steps in rising order", problem=_steps)
CLASSES = Check(values="names or ids as text", problem=_classes)
PROBABILITIES = Check(values="two probabilities", problem=_probabilities)
