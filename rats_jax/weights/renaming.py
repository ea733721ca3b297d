"""Converts the tensors of a layout to ours, and checks each one."""

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, cast

import numpy as np

from rats_jax.errors import UserError
from rats_jax.weights.layout_tables import BIAS_MASK, Layout

Array = np.ndarray
Shape = tuple[int | None, ...]  # None means any length


class Tensors(NamedTuple):
    """A backbone's tensors by their names in its layout. prefix: what precedes the names in the
    file `source`. keys: the names in the file, if wrappers have changed them. left_out: the names
    in the file of tensors that are not part of a backbone, such as heads."""

    source: str
    prefix: str
    arrays: dict[str, Array]
    keys: Mapping[str, str] = MappingProxyType({})
    left_out: Sequence[str] = ()

    def key(self, name: str) -> str:
        """The name in the file."""
        return self.keys.get(name, self.prefix + name)

    def wrong(self, name: str, reason: str) -> UserError:
        return UserError(f"{self.source}: {self.key(name)} {reason}")

    def __repr__(self) -> str:
        return f"Tensors({len(self.arrays)} of {self.source})"

    def get(self, name: str, shape: Shape) -> Array:
        if name not in self.arrays:
            raise self.wrong(name, "is missing: the file is incomplete")
        array = self.arrays[name]
        if array.ndim != len(shape) or any(
            size not in (None, there) for size, there in zip(shape, array.shape, strict=True)
        ):
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            reason = f"is {list(array.shape)}, not [{expected}]"
            transposed = array.shape == shape[::-1]
            raise self.wrong(name, reason + (": it is transposed" if transposed else ""))
        if array.dtype.kind != "f" and template(name) != BIAS_MASK:
            raise self.wrong(name, f"is of {array.dtype}: only floating point can be read")
        return array


def template(name: str) -> str:
    """The name with {i} instead of the layer."""
    return re.sub(r"\.\d+\.", ".{i}.", name, count=1)


def layer_of(name: str) -> int:
    """The number of the layer; -1 for a tensor that is not in a layer."""
    number = re.search(r"\.(\d+)\.", name)
    return int(number[1]) if number else -1


def renamed(layout: Layout, tensors: Tensors, settings: Mapping, *, depth: int) -> dict[str, Array]:
    """The tensors in our names. Parts become one tensor. A bias that no layer has becomes zeros.

    layout: has the names of only one kind of MLP.
    """
    (cls,) = layout.names["cls_token"]
    if cls not in tensors.arrays:
        raise tensors.wrong(
            cls,
            "is missing: the file is incomplete, or of a ViT without [CLS] (as in I-JEPA), which "
            "cannot be read",
        )
    there, shapes = set(map(template, tensors.arrays)), _shapes(layout, tensors)
    result: dict[str, Array] = {}
    for ours, theirs in layout.names.items():
        shape = shapes.get(ours.removeprefix("blocks.{i}."), shapes["norm.weight"])
        if len(theirs) > 1:
            shape = (_known(shape)[0] // len(theirs), *shape[1:])
        switches = layout.may_lack.get(ours, ())
        lacks = {
            name
            for name, switch in zip(theirs, switches, strict=bool(switches))
            if name not in there and not settings.get(switch)
        }
        if lacks and not ours.endswith(".bias"):
            continue
        for i in range(depth) if "{i}" in ours else (0,):
            parts = [
                np.zeros(_known(shape), np.float32)
                if name in lacks
                else tensors.get(name.format(i=i), shape)
                for name in theirs
            ]
            result[ours.format(i=i)] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    for i in range(depth):
        mask = result.pop(BIAS_MASK.format(i=i), None)
        if mask is not None:
            if not np.isin(mask, (0, 1)).all():
                raise tensors.wrong(BIAS_MASK.format(i=i), "is not of zeros and ones")
            result[f"blocks.{i}.attn.qkv.bias"] = result[f"blocks.{i}.attn.qkv.bias"] * mask
    if "registers" in result and not result["registers"].size:
        del result["registers"]
    if layout.title == "timm" and is_square(result["pos_embed"].shape[1]):  # [CLS] has no position
        result["pos_embed"] = np.pad(result["pos_embed"], ((0, 0), (1, 0), (0, 0)))
    return result


def is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _known(shape: Shape) -> tuple[int, ...]:
    """The same shape, typed as one whose sizes are all known."""
    return cast(tuple[int, ...], shape)


def _shapes(layout: Layout, tensors: Tensors) -> dict[str, Shape]:
    """The shapes of our tensors, except those with the shape of norm.weight. The sizes are taken
    from the patch embedding and the MLP's first tensor, which may be transposed."""
    (patches,) = layout.names["patch_embed.proj.weight"]
    kernel = tensors.get(patches, (None, 3, None, None))
    if not kernel.size:
        raise tensors.wrong(patches, f"is empty: {list(kernel.shape)}")
    width, patch = kernel.shape[0], kernel.shape[-1]
    gated = "blocks.{i}.mlp.w12.weight" in layout.names
    up = layout.names["blocks.{i}.mlp.w12.weight" if gated else "blocks.{i}.mlp.fc1.weight"]
    first = tensors.get(up[0].format(i=0), (None, None))
    hidden = len(up) * first.size // width // (2 if gated else 1)
    return {
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "cls_token": (1, 1, width),
        "pos_embed": (1, None, width),
        "registers": (1, None, width),
        "rope_embed.periods": (None,),
        "norm.weight": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.qkv.bias_mask": (3 * width,),
        "attn.proj.weight": (width, width),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.w12.weight": (2 * hidden, width),
        "mlp.w12.bias": (2 * hidden,),
        "mlp.w3.weight": (width, hidden),
    }
