"""How drawings and composites are specified on a command line: COUNT, or COUNT@SEED."""

from rats_jax.errors import UserError

PATTERN = "procedural_parts:COUNT, or COUNT@SEED"
PATTERN_OF_COMPOSITES = "composites:COUNT, or COUNT@SEED"
MOST_DRAWINGS = 1_000_000


def count_and_seed(place: str, *, pattern: str = PATTERN) -> tuple[int, int]:
    """Parses COUNT or COUNT@SEED; the seed is 0 by default. Raises UserError, which shows the
    pattern."""
    count, at, seed = place.partition("@")
    if not (count.isdecimal() and int(count) and (seed.isdecimal() if at else True)):
        raise UserError(f"write {pattern}")
    if int(count) > MOST_DRAWINGS or int(seed or 0) >= 2**64:
        raise UserError(f"COUNT is at most {MOST_DRAWINGS:,}, and SEED less than 2^64")
    return int(count), int(seed or 0)
