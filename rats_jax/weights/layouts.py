"""Which layout a state dict has, and the same backbone in our names with the options it needs."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.weights.options import own_options, read_options, whole
from rats_jax.weights.other_names import DINO, LAYOUTS, PERIODS, TIMM, Layout
from rats_jax.weights.renaming import Tensors, layer_of, renamed, template

#: What every layout has: it tells what stands before a backbone's names.
PATCHES = tuple(dict.fromkeys(layout.names["patch_embed.proj.weight"][0] for layout in LAYOUTS))
#: What may be beside a backbone.
OTHERS = re.compile(r"(.*\.)?(head|heads|dino_head|ibot_head|classifier|decoder)\..*")


class Recognised(NamedTuple):
    """layout: for people. options: what `models.make_backbone` takes. arrays: of the backbone, in
    our names. left_out: what else is in the file, and is known to be no part of a backbone.
    assumed: what neither the tensors nor the settings say, as it was taken; for people."""

    layout: str
    options: dict
    arrays: dict[str, np.ndarray]
    left_out: list[str]
    assumed: Sequence[str] = ()


def recognise(
    arrays: Mapping[str, np.ndarray], settings: Mapping | None, *, source: str
) -> Recognised:
    """The backbone in a flat state dict.

    arrays: as in the file, with whatever stands before the names (`module.`, `backbone.`, ...).
    settings: the config.json beside it (ours, transformers', timm's), or the `args` of a checkpoint
    in DINO's layout. source: the file, for messages.

    Raises:
      UserError: in one line that names the first tensor that is missing, unknown or misshapen, or
        the setting that contradicts the tensors or is not supported.
    """
    settings = settings or {}
    own = settings.get("options", settings.get("rats_options"))
    if isinstance(own, Mapping) and "architecture" in own:
        tensors, left_out = _backbone(arrays, source)
        options = own_options(own, source=source)
        return Recognised("in the layout of rats_jax", options, tensors.arrays, left_out)

    layouts = _possible(settings, source)
    tensors, left_out = _backbone(arrays, source)

    layout = _closest(layouts, tensors)
    layout = layout._replace(names=_with_one_mlp(layout, tensors))
    depth = whole(settings, "num_hidden_layers", source)
    left_out += _check_known(layout, tensors, depth)
    depth = depth or 1 + max(map(layer_of, tensors.arrays))
    backbone = renamed(layout, tensors, settings, depth=depth)
    options = read_options(layout, backbone, settings, source=source)
    assumed = _assumed(layout, backbone, options, settings)
    backbone.pop(PERIODS, None)
    return Recognised(f"in the layout of {layout.title}", options, backbone, left_out, assumed)


def _assumed(layout: Layout, backbone: Mapping, options: Mapping, settings: Mapping) -> list[str]:
    assumed = []
    if PERIODS not in backbone and "num_attention_heads" not in settings:
        assumed.append(f"{options['heads']} heads, taken as 64 wide")
    if layout.title in (DINO.title, TIMM.title) and "pretrained_cfg" not in settings:
        assumed.append(f"positions resampled as in {layout.title.split(' or')[0]}")
    return assumed


def _possible(settings: Mapping, source: str) -> Sequence[Layout]:
    model_type = settings.get("model_type")
    if model_type is None:
        return [TIMM] if "pretrained_cfg" in settings else LAYOUTS
    layouts = [layout for layout in LAYOUTS if layout.model_type == model_type]
    if not layouts:
        types = dict.fromkeys(layout.model_type for layout in LAYOUTS if layout.model_type)
        raise UserError(
            f"{source}: its config.json says model_type {model_type!r:.80}, which cannot be read; "
            f"what can is {', '.join(types)}"
        )
    return layouts


def _backbone(arrays: Mapping[str, np.ndarray], source: str) -> tuple[Tensors, list[str]]:
    """What has the prefix of the patch embedding, and the names of the rest."""
    prefixes = [
        key.removesuffix(name)
        for key in arrays
        for name in PATCHES
        if key == name or key.endswith("." + name)
    ]
    if not prefixes:
        raise UserError(f"{source} has no {' or '.join(PATCHES)}: name the weights of a ViT")
    if len(prefixes) > 1:
        raise UserError(
            f"{source} has several backbones, {str(prefixes):.80}: name the weights of one"
        )
    (prefix,), inside, left_out = prefixes, {}, []
    for key, array in arrays.items():
        if key.startswith(prefix):
            # DINOv2 trains with its blocks in chunks: blocks.CHUNK.LAYER.
            name = re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", key.removeprefix(prefix))
            if name in inside:
                raise UserError(f"{source} has {key}, which it has in another chunk too")
            inside[name] = array
        elif OTHERS.fullmatch(key):
            left_out.append(key)
        else:
            raise UserError(f"{source} has {key}, which is no part of a ViT or of its heads")
    return Tensors(source, prefix, inside), left_out


def _closest(layouts: Sequence[Layout], tensors: Tensors) -> Layout:
    """The layout that knows most of the tensors."""

    def known(layout: Layout) -> int:
        names = _all_names(layout)
        return sum(template(n) in names or _is_left_out(n, layout) for n in tensors.arrays)

    return max(layouts, key=known)


def _all_names(layout: Layout) -> set[str]:
    return {name for theirs in layout.names.values() for name in theirs}


def _is_left_out(name: str, layout: Layout) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in layout.left_out)


def _with_one_mlp(layout: Layout, tensors: Tensors) -> dict[str, tuple[str, ...]]:
    """The layout's names without those of the kind of MLP that is not there."""
    plain = layout.names["blocks.{i}.mlp.fc1.weight"]
    gated = layout.names.get("blocks.{i}.mlp.w12.weight", ())
    if plain == gated:  # in timm the sizes tell
        first, second = (tensors.arrays.get(f"blocks.0.mlp.fc{i}.weight") for i in (1, 2))
        is_gated = first is not None and second is not None and first.size == 2 * second.size
    else:
        is_gated = any(template(n) in set(gated) - set(plain) for n in tensors.arrays)
    others = r".*\.mlp\.fc.*" if is_gated else r".*\.mlp\.w.*"
    return {ours: names for ours, names in layout.names.items() if not re.fullmatch(others, ours)}


def _check_known(layout: Layout, tensors: Tensors, depth: int | None) -> list[str]:
    """The names of what is left out, when all else is known and in a layer that there is."""
    names, left_out = _all_names(layout), []
    for name in tensors.arrays:
        if _is_left_out(name, layout):
            left_out.append(tensors.prefix + name)
        elif template(name) not in names or template(name).format(i=layer_of(name)) != name:
            raise tensors.wrong(name, f"is unknown in the layout of {layout.title}")
        elif depth is not None and layer_of(name) >= depth:
            raise tensors.wrong(name, f"is there, but config.json says num_hidden_layers {depth}")
    return left_out
