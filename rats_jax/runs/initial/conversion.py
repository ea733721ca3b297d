"""Turns the weights of one backbone into those of another: what has the same shape is taken."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.models.options import Options
from rats_jax.models.positions import interpolate_positions

Arrays = dict[str, np.ndarray]


class Converted(NamedTuple):
    """arrays: what is taken, by path ("blocks/mlp/fc1/kernel"). cls: [CLS] with its position, [D],
    if the weights have it. left_out: for messages, what is not taken. notes: what was done."""

    arrays: Arrays
    cls: np.ndarray | None
    left_out: list[str]
    notes: list[str]


def convert(
    arrays: Mapping[str, np.ndarray],
    given: Options,
    wanted: Options,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> Converted:
    """The parameters of `wanted` that the weights of `given` have.

    arrays: the weights, by path. shapes: of all parameters of `wanted`. mean, std: by which the
    images of the weights are normalised. The two must fit, see `mismatch.check_fits`.
    """
    arrays, left_out, notes = dict(arrays), [], []
    if (tuple(mean), tuple(std)) != (tuple(IMAGENET_MEAN), tuple(IMAGENET_STD)):
        arrays |= _with_imagenet_normalisation(arrays, mean, std)
        notes.append(
            f"its images are normalised by mean {_listed(mean)} and std {_listed(std)}: the "
            "difference to those of training is folded into the patch embedding"
        )
    cls = _cls(arrays)
    if given.has_cls and not wanted.has_cls:
        arrays, left_out, folded = _without_cls(arrays, given)
        notes += folded
    notes += _resample(arrays, given, wanted)
    if "registers" in arrays and arrays["registers"].shape != shapes.get("registers"):
        left_out.append(f"its {given.registers} {given.units}")
        del arrays["registers"]
    if "blocks/patch_attn/qkv/kernel" in shapes and "blocks/patch_attn/qkv/kernel" not in arrays:
        arrays |= {
            name.replace("/attn/", "/patch_attn/"): array
            for name, array in arrays.items()
            if name.startswith(("blocks/attn/qkv/", "blocks/attn/out/"))
        }
        notes.append("the attention among patches starts as a copy of the other attention")
    for name, array in arrays.items():
        assert array.shape == shapes[name], (name, array.shape, shapes[name])
    return Converted(arrays, cls, left_out, notes)


def _with_imagenet_normalisation(
    arrays: Mapping[str, np.ndarray], mean: Sequence[float], std: Sequence[float]
) -> Arrays:
    """The patch embedding for images that are normalised by ImageNet's mean and std instead. There
    is no padding, so this is exact."""
    kernel = np.asarray(arrays["patch_embed/kernel"], np.float64)  # [p, p, 3, D]
    there, here = (np.asarray(x, np.float64) for x in ((mean, std), (IMAGENET_MEAN, IMAGENET_STD)))
    shift = np.einsum("hwcD,c->D", kernel, (here[0] - there[0]) / there[1])
    kernel = kernel * (here[1] / there[1])[:, None]
    return {
        "patch_embed/kernel": kernel.astype(np.float32),
        "patch_embed/bias": (arrays["patch_embed/bias"] + shift).astype(np.float32),
    }


def _cls(arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    if "cls_token" not in arrays:
        return None
    return arrays["cls_token"] + (arrays["pos_embed"][0] if "pos_embed" in arrays else 0)


def _without_cls(
    arrays: Mapping[str, np.ndarray], given: Options
) -> tuple[Arrays, list[str], list[str]]:
    """The parameters of a ViT that a RATS has, what is left out, and what was done."""
    arrays, left_out, notes = dict(arrays), ["[CLS]"], []
    del arrays["cls_token"]
    if "pos_embed" in arrays:
        left_out = ["[CLS] and its position"]
        arrays["pos_embed"] = arrays["pos_embed"][1:]
    else:
        left_out.append("its rotary positions")
    if arrays.pop("registers", None) is not None:
        left_out.append(f"its {given.registers} plain registers")
    if "blocks/ls1/gamma" in arrays:
        for gain, module in (("ls1", "attn/out"), ("ls2", "mlp/fc2")):
            gamma = arrays.pop(f"blocks/{gain}/gamma")  # [depth, D]
            kernel, bias = f"blocks/{module}/kernel", f"blocks/{module}/bias"
            wide = gamma.reshape(len(gamma), *[1] * (arrays[kernel].ndim - 2), -1)
            arrays[kernel] = arrays[kernel] * wide
            arrays[bias] = arrays[bias] * gamma
        notes.append("its LayerScale is folded into the output projections and the MLPs")
    if (eps := getattr(given, "norm_eps", 1e-6)) != 1e-6:
        notes.append(f"the epsilon of its norms is {eps:g}, and 1e-06 in a RATS")
    return arrays, left_out, notes


def _resample(arrays: Arrays, given: Options, wanted: Options) -> list[str]:
    """Resamples the position table in place, as the implementation of the weights does."""
    if "pos_embed" not in arrays:
        return []
    was, now = (of.image_size // of.patch for of in (given, wanted))
    if was == now:
        return []
    first, table = np.split(arrays["pos_embed"], [len(arrays["pos_embed"]) - was**2])
    resampled = interpolate_positions(
        table,
        native=(was, was),
        grid=(now, now),
        offset=given.position_offset,
        antialias=getattr(given, "positions", "learned") == "learned_antialiased",
    )
    arrays["pos_embed"] = np.concatenate([first, np.asarray(resampled)])
    return [f"its positions are resampled from {was} x {was} to {now} x {now} patches"]


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{x:g}" for x in numbers)
