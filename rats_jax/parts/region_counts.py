"""How many regions a model can have."""

from collections.abc import Mapping

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
