"""The options of a ViT, from its tensors and from the settings stored with them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rats_jax.errors import UserError
from rats_jax.models.options import Options, options_class, options_of
from rats_jax.weights.layout_tables import PERIODS, Layout
from rats_jax.weights.renaming import is_square

LARGEST = 10**6  # limit of every number


def read_options(
    layout: Layout, arrays: Mapping[str, np.ndarray], settings: Mapping, *, source: str
) -> Options:
    """The argument of `models.make_backbone`.

    arrays: in our names, with checked shapes, and with RoPE's periods if the file has them.

    Raises:
      UserError: the settings contradict the tensors, or are not supported.
    """
    width, _, _, patch = arrays["patch_embed.proj.weight"].shape
    depth = sum(name.endswith(".norm1.weight") for name in arrays)
    gated = "blocks.0.mlp.w3.weight" in arrays
    hidden = arrays[f"blocks.0.mlp.{'w3' if gated else 'fc2'}.weight"].shape[1]
    options = {
        "architecture": "vit",
        "width": width,
        "depth": depth,
        "heads": _heads(layout, arrays, settings, source),
        "patch": patch,
        "image_size": _image_size(arrays, settings, patch, source),
        "mlp_ratio": hidden // width if hidden % width == 0 else hidden / width,
        "position_offset": layout.position_offset,
        "plain_registers": arrays["registers"].shape[1] if "registers" in arrays else 0,
        "norm_eps": layout.norm_eps
        if (eps := number(settings, "layer_norm_eps", source)) is None
        else eps,
        "layer_scale": "blocks.0.ls1.gamma" in arrays,
        "gated_mlp": gated,
        "positions": layout.positions,
    }
    if layout.positions == "rope":
        options["rope_periods"] = _periods(options, arrays, settings, source)
    _check_settings(layout, options, hidden, settings, source)
    return options_of(options)


def own_options(options: Mapping, *, source: str) -> Options:
    """The options in the config.json of an export, or in its checkpoint. Raises UserError."""
    try:
        types = {"architecture": str} | options_class(options.get("architecture")).types()
    except UserError as error:
        raise UserError(
            f"{source}: its config.json is of no model that can be made: {error}"
        ) from None
    for name, value in options.items():
        if not _fits(value, types.get(name)):
            raise UserError(
                f"{source}: its config.json has the option {name!r:.80} {value!r:.80}, which is "
                "of no model that can be made: fix it"
            )
    for name in ("width", "depth", "heads", "patch", "image_size"):
        if name not in options:
            raise UserError(f"{source}: its config.json has no option {name!r}: fix it")
    return options_of(options)


def _fits(value: object, kind: Any) -> bool:
    """Whether a value of a JSON file has the type of an option; `kind` is None if it is unknown."""
    if kind in (int, float):
        if not isinstance(value, int | float) or type(value) not in (int, kind):
            return False
        return 0 <= value < LARGEST
    if kind in (str, bool, None):
        return type(value) is kind
    return type(value) is list


def number(
    settings: Mapping, name: str, source: str, kinds: tuple[type, ...] = (int, float)
) -> Any:
    """A setting that is a non-negative number, or a pair of equal ones; None if it is not given."""
    value = settings.get(name)
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if value is not None and (type(value) not in kinds or not 0 <= value < math.inf):
        raise UserError(f"{source}: {name} {value!r:.80} in its config.json cannot be read")
    return value


def whole(settings: Mapping, name: str, source: str) -> int | None:
    return number(settings, name, source, kinds=(int,))


def _heads(layout: Layout, arrays: Mapping, settings: Mapping, source: str) -> int:
    width = arrays["cls_token"].shape[-1]
    heads = whole(settings, "num_attention_heads", source)
    if heads is None and PERIODS in arrays:
        heads = width // max(4 * len(arrays[PERIODS]), 1)
    if heads is None:
        heads = layout.heads.get(width)
    if heads is None and width % 64 == 0 and width <= layout.widest:
        heads = width // 64
    if not heads or width % heads:
        raise UserError(
            f"{source} does not say how many heads share its width of {width}: put the model's "
            "config.json with num_attention_heads beside it"
        )
    return heads


def _image_size(arrays: Mapping, settings: Mapping, patch: int, source: str) -> int:
    size = whole(settings, "image_size", source)
    if "pos_embed" not in arrays:
        return max((size or 224) // patch, 1) * patch
    positions = arrays["pos_embed"].shape[1] - 1
    if positions < 1 or not is_square(positions):
        raise UserError(f"{source}: {positions} positions in pos_embed are no square of patches")
    grid = math.isqrt(positions)
    if size is not None and size // patch != grid:
        raise UserError(
            f"{source}: pos_embed is of {grid} x {grid} patches of {patch} pixels, but its "
            f"config.json says image_size {size}"
        )
    return grid * patch


def _periods(options: Mapping, arrays: Mapping, settings: Mapping, source: str) -> list[float]:
    """The periods in the file (DINOv3 publishes them rounded to bfloat16), else those of a base."""
    head_width = options["width"] // options["heads"]
    if head_width % 4:
        raise UserError(f"{source}: RoPE needs heads of a multiple of 4 features, not {head_width}")
    if PERIODS in arrays:
        periods = arrays[PERIODS].tolist()
        if 4 * len(periods) != head_width or not all(0 < p < math.inf for p in periods):
            raise UserError(
                f"{source}: {PERIODS} {str(periods):.80} do not fit heads of {head_width}"
            )
        return periods
    base = number(settings, "rope_theta", source)
    base = 100.0 if base is None else base
    if base == 0:
        raise UserError(f"{source}: rope_theta 0 in its config.json cannot be read")
    return [base ** (4 * i / head_width) for i in range(head_width // 4)]


def _check_settings(
    layout: Layout, options: Mapping, hidden: int, settings: Mapping, source: str
) -> None:
    width, gated = options["width"], options["gated_mlp"]
    has = {
        "hidden_size": width,
        "patch_size": options["patch"],
        "num_register_tokens": options["plain_registers"],
        "intermediate_size": hidden,
        "use_swiglu_ffn": gated,
        "use_gated_mlp": gated,
        # DINOv2's gate is always silu, whatever this setting is.
        "hidden_act": "silu" if gated and layout.positions == "rope" else "gelu",
    }
    ratio = number(settings, "mlp_ratio", source)
    if ratio is not None and layout.model_types:
        plain = int(width * ratio)
        gate = -(-int(plain * 2 / 3) // 8) * 8  # as DINOv2 rounds it
        has["mlp_ratio"] = ratio if hidden == (gate if gated else plain) else options["mlp_ratio"]
    for name, value in has.items():
        given = whole(settings, name, source) if type(value) is int else settings.get(name)
        if given not in (None, value):
            raise UserError(
                f"{source}: its config.json says {name} {given!r:.80}, but only {value!r} fits"
            )
