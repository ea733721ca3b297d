"""Recognises the layout of a state dict; gives the backbone in our names, with its options."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError
from rats_jax.models.options import Options
from rats_jax.weights.layout_tables import DINO, LAYOUTS, METHODS, PERIODS, TIMM, Layout
from rats_jax.weights.options import own_options, read_options, whole
from rats_jax.weights.renaming import Tensors, layer_of, renamed, template

#: Tokens for masked patches in training: a backbone for whole images does not need them.
MASKS = re.compile(r"(embeddings\.)?mask(ed)?_(token|embed)(ding)?s?")
#: Tensors of other ViTs, which compute something else, and what they are.
PECULIAR = {
    r"(embeddings\.)?(dist|distillation)_token": "the distillation token of DeiT",
    r"(norm_pre|ln_pre)\..*": "a norm before the first layer, as in CLIP",
    r"fc_norm\..*": "a norm after the patches are averaged, so that they have none themselves",
    r".*lora_.*": "of LoRA, which must first be merged into the weights",
    r".*(relative_position|rel_pos).*": "of relative positions, as in BEiT and SimMIM",
    r".*\.(q_norm|k_norm|norm_q|norm_k)\..*": "a norm of queries and keys",
}


class Recognised(NamedTuple):
    """layout: for messages. options: the argument of `models.make_backbone`. arrays: those of the
    backbone, in our names. left_out: other tensors in the file, known not to be part of a backbone.
    assumed: assumptions about what neither the tensors nor the settings state; for messages."""

    layout: str
    options: Options
    arrays: dict[str, np.ndarray]
    left_out: list[str]
    assumed: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Recognised({len(self.arrays)} tensors {self.layout})"


def recognise(tensors: Tensors, settings: Mapping | None) -> Recognised:
    """The backbone in one set of weights.

    settings: the config.json next to it (ours, transformers', timm's), or the `args` of a
    checkpoint in DINO's layout.

    Raises:
      UserError: a tensor is missing, is unknown or has a wrong shape, or a setting contradicts the
        tensors or is not supported. The message is one line that names the first of them.
    """
    source, settings = tensors.source, settings or {}
    left_out = list(tensors.left_out)
    own = settings.get("options", settings.get("rats_options"))
    if isinstance(own, Mapping) and "architecture" in own:
        options = own_options(own, source=source)
        return Recognised("in the layout of rats_jax", options, tensors.arrays, left_out)

    layout = _closest(_possible(settings, source), tensors)
    left_out += _check_known(layout, tensors, depth := whole(settings, "num_hidden_layers", source))
    depth = depth or 1 + max(map(layer_of, tensors.arrays))
    backbone = renamed(layout, tensors, settings, depth=depth)
    options = read_options(layout, backbone, settings, source=source)
    assumed = _assumed(layout, backbone, options, settings)
    backbone.pop(PERIODS, None)
    return Recognised(f"in the layout of {layout.title}", options, backbone, left_out, assumed)


def _assumed(layout: Layout, backbone: Mapping, options: Options, settings: Mapping) -> list[str]:
    assumed = []
    if PERIODS not in backbone and "num_attention_heads" not in settings:
        of = f"as in {layout.title}" if options.width in layout.heads else "taken as 64 wide"
        assumed.append(f"{options.heads} heads, {of}")
    by_name_alone = {DINO.title, TIMM.title, *(method.title for method in METHODS)}
    if layout.title in by_name_alone and "pretrained_cfg" not in settings:
        assumed.append(f"positions resampled as in {layout.title.split(' or')[0]}")
    return assumed


def _possible(settings: Mapping, source: str) -> Sequence[Layout]:
    model_type = settings.get("model_type")
    if model_type is None:
        return [TIMM] if "pretrained_cfg" in settings else LAYOUTS
    layouts = [layout for layout in LAYOUTS if model_type in layout.model_types]
    if not layouts:
        types = dict.fromkeys(name for layout in LAYOUTS for name in layout.model_types)
        raise UserError(
            f"{source}: its config.json says model_type {model_type!r:.80}, which cannot be read; "
            f"what can is {', '.join(types)}"
        )
    return layouts


def _closest(layouts: Sequence[Layout], tensors: Tensors) -> Layout:
    """The layout that knows the most tensors and has the fewest missing ones, with the names of the
    file's kind of MLP only."""
    there = set(map(template, tensors.arrays))

    def fit(layout: Layout) -> int:
        names = _all_names(layout)
        known = sum(template(n) in names or _is_left_out(n, layout) for n in tensors.arrays)
        signs = sum(_is_any_of(name, layout.left_out) for name in tensors.arrays)
        optional = {name for ours in layout.may_lack for name in layout.names.get(ours, ())}
        return known + signs - len(names - optional - there)

    closest = max(
        (layout._replace(names=_with_one_mlp(layout, tensors)) for layout in layouts), key=fit
    )
    for method in METHODS if closest.title == DINO.title else ():
        if any(re.search(method.beside, name) for name in (tensors.prefix, *tensors.left_out)):
            return method
    return closest


def _all_names(layout: Layout) -> set[str]:
    return {name for theirs in layout.names.values() for name in theirs}


def _is_left_out(name: str, layout: Layout) -> bool:
    return bool(MASKS.fullmatch(name)) or _is_any_of(name, layout.left_out)


def _is_any_of(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _with_one_mlp(layout: Layout, tensors: Tensors) -> dict[str, tuple[str, ...]]:
    """The layout's names without those of the kind of MLP that the file does not have."""
    plain = layout.names["blocks.{i}.mlp.fc1.weight"]
    gated = layout.names.get("blocks.{i}.mlp.w12.weight", ())
    if plain == gated:  # timm uses the same names for both, so compare the sizes
        first, second = (tensors.arrays.get(f"blocks.0.mlp.fc{i}.weight") for i in (1, 2))
        is_gated = first is not None and second is not None and first.size == 2 * second.size
    else:
        is_gated = any(template(n) in set(gated) - set(plain) for n in tensors.arrays)
    others = r".*\.mlp\.fc.*" if is_gated else r".*\.mlp\.w.*"
    return {ours: names for ours, names in layout.names.items() if not re.fullmatch(others, ours)}


def _check_known(layout: Layout, tensors: Tensors, depth: int | None) -> list[str]:
    """The names of tensors that are left out. Raises UserError if another tensor is unknown, or is
    in a layer that does not exist."""
    names, left_out = _all_names(layout), []
    for name in tensors.arrays:
        if _is_left_out(name, layout):
            left_out.append(tensors.key(name))
        elif template(name) not in names or template(name).format(i=layer_of(name)) != name:
            what = (PECULIAR[p] for p in PECULIAR if re.fullmatch(p, name))
            reason = next(
                (f"it is {it}" for it in what), "if it is no part of the backbone, save that alone"
            )
            raise tensors.wrong(name, f"is unknown in the layout of {layout.title}: {reason}")
        elif depth is not None and layer_of(name) >= depth:
            raise tensors.wrong(name, f"is there, but config.json says num_hidden_layers {depth}")
    return left_out
