"""Whether a backbone can start from the weights of another, by their options."""

from typing import Any

from ml_collections import ConfigDict

from rats_jax.errors import UserError
from rats_jax.models import SIZES
from rats_jax.models.options import Options, ViTOptions

#: Options that do not have to be the same: positions are resampled, and registers may be new.
MAY_DIFFER = ("image_size", "position_offset", "registers_per_head")
#: Variants of RATS without other parameters, or with new ones: old value -> what it may become.
MAY_BECOME = {
    "communicate": {"parameter_free": ("learned",)},
    "parallel": {"none": ("shared", "separate")},
}
#: Options of a ViT that a RATS started from it has too.
COMMON = ("width", "depth", "heads", "patch", "mlp_ratio")


def check_fits(given: Options, wanted: Options, config: ConfigDict, *, checkpoint: str) -> None:
    """Raises UserError, with the flags to set, unless the backbone `wanted` can start from weights
    of `given`. The options that only `config.model.imported` has must be the same already."""
    kinds = given.architecture, wanted.architecture
    if kinds == ("vit", "rats"):
        if isinstance(given, ViTOptions) and given.gated_mlp:
            raise UserError(
                f"config.init.checkpoint {checkpoint} is a ViT with a gated MLP, which a RATS does "
                "not have: choose a ViT with a plain MLP, or --config.model.architecture=vit"
            )
        names: tuple[str, ...] = COMMON
    elif kinds[0] == kinds[1]:
        names = tuple(name for name in given.config_fields() if name not in MAY_DIFFER)
    else:
        names = ("architecture", *given.config_fields())
        names = tuple(name for name in names if name not in MAY_DIFFER)
    different = {
        name: getattr(given, name)
        for name in names
        if _differ(name, getattr(given, name), getattr(wanted, name, config.model[name]))
    }
    if different:
        different = _with_size(different, given)
        what = f"is another {given.title} than config.model describes"
        if "architecture" in different:
            what = f"is a {given.title}, and a {wanted.title} cannot start from it"
        flags = " ".join(_flags(different, config))
        raise UserError(f"config.init.checkpoint {checkpoint} {what}: set {flags}")


def _with_size(different: dict[str, Any], given: Options) -> dict[str, Any]:
    """`model.size` in place of width, depth and heads, if the weights have one of its sizes."""
    for size, options in SIZES.items():
        if all(getattr(given, name) == value for name, value in options.items()):
            return {
                "size" if name in options else name: size if name in options else value
                for name, value in different.items()
            }
    return different


def _differ(name: str, was: object, now: object) -> bool:
    if name == "plain_registers" and was == 0:
        return False  # the registers are new
    return was != now and now not in MAY_BECOME.get(name, {}).get(was, ())


def _flags(different: dict[str, Any], config: ConfigDict) -> list[str]:
    """The flags for these options of the model, and for sizes of crops that must follow a patch."""
    flags = [f"--config.model.{name}={value}" for name, value in different.items()]
    if patch := different.get("patch"):
        for name in ("global_size", "local_size"):
            size = config.crops[name]
            nearest = max(round(size / patch), 1) * patch
            flags += [f"--config.crops.{name}={nearest}"] if nearest != size else []
    return flags
