"""How many regions a model can have."""

from rats_jax.models.options import Options

USUAL_K = (6, 12, 33, 96)  # the paper's Table 1


def registers_of(options: Options) -> int | None:
    """How many registers regions can be made of; None of a ViT, whose regions are of attention."""
    return None if options.has_cls else options.registers
