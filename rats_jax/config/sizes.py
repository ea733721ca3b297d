"""config.model.size: one name in place of width, depth and heads."""

from collections.abc import Collection

from ml_collections import ConfigDict

from rats_jax.errors import UserError
from rats_jax.models import SIZES


def with_size(config: ConfigDict, *, by_hand: Collection[str] = ()) -> ConfigDict:
    """The config with width, depth and heads of `model.size`, which is empty after that, so that
    later changes of the three count. A config without a size is returned as it is, and
    so is that of fine-tuning, whose model comes from its checkpoint.

    by_hand: the fields (SECTION.FIELD) that the command line sets. Raises UserError for a size that
    does not exist, and where one of the three is set beside it.
    """
    size = config.model.get("size", "")
    if size == "":
        return config
    if size not in SIZES:
        raise UserError(f"config.model.size is {size!r}: choose one of {', '.join(SIZES)}")
    beside = [name for name in SIZES[size] if f"model.{name}" in by_hand]
    if beside and "model.size" in by_hand:
        raise UserError(
            f"config.model.size={size} sets config.model.{beside[0]} too: leave out one of the two"
        )
    config = config.copy_and_resolve_references()
    config.model.update({n: x for n, x in SIZES[size].items() if n not in beside}, size="")
    return config
