"""How many regions a model can have."""

from collections.abc import Mapping, Sequence

from rats_jax.errors import UserError

USUAL_K = (6, 12, 33, 96)  # the paper's Table 1


def registers_of(model: Mapping) -> int | None:
    """How many registers regions can be made of; None of a ViT, whose regions are of attention.

    model: `config.model`, or the options of a backbone.
    """
    match model["architecture"]:
        case "rats":
            return model["heads"] * model["registers_per_head"]
        case "perceiver":
            return model["queries"]
    return None


def numbers_of_regions(
    given: Sequence[int] | None, model: Mapping, *, patches: int, named: str, where: str = ""
) -> tuple[int, ...]:
    """The values of K, rising: those given, or for None the usual ones that the model can have;
    of a ViT also its numbers of heads and registers. Raises UserError.

    model: as of `registers_of`. patches: of an image, for k-means can have no more regions.
    named: what was given, as the user writes it. where: which images have so few patches.
    """
    registers = registers_of(model)
    most = patches if registers is None else min(registers, patches)
    if given is None:
        usual = {*USUAL_K}
        if model["architecture"] == "vit":
            usual |= {model["heads"], model.get("plain_registers", 0)} - {0, 1}
        return tuple(sorted(k for k in usual if k <= most)) or (most,)
    if not given or not all(isinstance(k, int) and 1 <= k <= most for k in given):
        what = f"{patches} patches an image{where}"
        if most == registers:
            what = f"{registers} registers"
        raise UserError(f"{named}: the model has {what}; choose numbers from 1 to {most}")
    return tuple(sorted(set(given)))
