"""How many regions a model can have."""

from collections.abc import Sequence

from rats_jax.errors import UserError
from rats_jax.models.options import Options

USUAL_K = (6, 12, 33, 96)  # the paper's Table 1
USUAL_MAPS = 8  # of pictures


def registers_of(model: Options) -> int | None:
    """How many registers can become regions; None for a ViT, whose regions are from attention."""
    return None if model.has_cls else model.registers


def numbers_of_regions(
    given: Sequence[int] | None, model: Options, *, patches: int, named: str, where: str = ""
) -> tuple[int, ...]:
    """The values of K in ascending order: those given, or for None the usual values that the model
    can have, for a ViT also its numbers of heads and registers. Raises UserError.

    patches: patches of an image, the most regions that k-means can have.
    named: the option for `given`, as the user writes it. where: which images have so few patches.
    """
    registers = registers_of(model)
    most = patches if registers is None else min(registers, patches)
    if given is None:
        usual = {*USUAL_K}
        if model.has_cls:
            usual |= {model.heads, model.registers} - {0, 1}
        return tuple(sorted(k for k in usual if k <= most)) or (most,)
    if not given or not all(isinstance(k, int) and 1 <= k <= most for k in given):
        what = f"{patches} patches per image{where}"
        if most == registers:
            what = f"{registers} {model.units}"
        raise _refusal(named, what, most)
    return tuple(sorted(set(given)))


def number_of_maps(given: int | None, model: Options, *, named: str) -> int:
    """K for pictures, which show the K best registers, or heads of a ViT: the one given, or for
    None 8 registers (all if there are fewer), or all heads. Raises UserError.

    named: as for `numbers_of_regions`.
    """
    most, unit = (model.heads, "heads") if model.has_cls else (model.registers, model.units)
    if given is None:
        return most if model.has_cls else min(USUAL_MAPS, most)
    if not 1 <= given <= most:
        raise _refusal(named, f"{most} {unit}", most)
    return given


def _refusal(named: str, what: str, most: int) -> UserError:
    return UserError(f"{named}: the model has {what}; choose numbers from 1 to {most}")
