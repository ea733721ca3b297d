"""The table of the parameters of our JAX trees, their PyTorch names, and how arrays correspond.

The names are those of timm and DINO v1, if these have one. `layout_tables.py` adds the names of
other implementations. The exporter, the importer and docs/weights.md all use this table.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from rats_jax.errors import UserError

Array = np.ndarray


class Form(NamedTuple):
    """How an array (of one layer) corresponds in JAX and in PyTorch.

    to_torch: converts the array to PyTorch's layout. back: converts it back, given the shape in
    JAX. Neither changes values, so the round trip is exact.
    """

    says: str
    to_torch: Callable[[Array], Array]
    back: Callable[[Array, tuple[int, ...]], Array]


def _linear(inputs: int) -> Form:
    def back(x, shape):
        return x.T.reshape(shape)

    says = "transposed" if inputs == 1 else "first two axes as one, transposed"
    return Form(says, lambda x: x.reshape(np.prod(x.shape[:inputs], dtype=int), -1).T, back)


SAME = Form("as it is", lambda x: x, lambda x, shape: x)
FLAT = Form("flattened", lambda x: x.reshape(-1), lambda x, shape: x.reshape(shape))
TOKENS = Form(
    "[1, tokens, D]",
    lambda x: x.reshape(1, -1, x.shape[-1]),
    lambda x, shape: x.reshape(shape),
)
CONV = Form(
    "[D, 3, p, p]", lambda x: x.transpose(3, 2, 0, 1), lambda x, shape: x.transpose(2, 3, 1, 0)
)
MATRIX = _linear(1)
FROM_HEADS = _linear(2)
COLUMN = Form("[K, 1]", lambda x: x.reshape(-1, 1), lambda x, shape: x.reshape(shape))


class NameRow(NamedTuple):
    """path: path in the JAX tree; arrays under `blocks` have a leading depth axis.
    name: name in PyTorch; {i} is the layer."""

    path: str
    shape: str
    name: str
    form: Form


BACKBONE = (
    NameRow("patch_embed/kernel", "[p, p, 3, D]", "patch_embed.proj.weight", CONV),
    NameRow("patch_embed/bias", "[D]", "patch_embed.proj.bias", SAME),
    NameRow("pos_embed", "[(1 +) L, D]", "pos_embed", TOKENS),
    NameRow("cls_token", "[D]", "cls_token", TOKENS),
    NameRow("registers", "[H, n, D] or [R, D]", "registers", TOKENS),
    NameRow("latents", "[latents, D]", "latents", TOKENS),
    NameRow("queries", "[N, D]", "queries", TOKENS),
    NameRow("blocks/norm1/scale", "[D]", "blocks.{i}.norm1.weight", SAME),
    NameRow("blocks/norm1/bias", "[D]", "blocks.{i}.norm1.bias", SAME),
    NameRow("blocks/attn/qkv/kernel", "[D, 3, H, d]", "blocks.{i}.attn.qkv.weight", MATRIX),
    NameRow("blocks/attn/qkv/bias", "[3, H, d]", "blocks.{i}.attn.qkv.bias", FLAT),
    NameRow("blocks/attn/out/kernel", "[H, d, D]", "blocks.{i}.attn.proj.weight", FROM_HEADS),
    NameRow("blocks/attn/out/bias", "[D]", "blocks.{i}.attn.proj.bias", SAME),
    NameRow("blocks/attn/communicate", "[3, H, d, d]", "blocks.{i}.attn.communicate", SAME),
    NameRow(
        "blocks/patch_attn/qkv/kernel", "[D, 3, H, d]", "blocks.{i}.patch_attn.qkv.weight", MATRIX
    ),
    NameRow("blocks/patch_attn/qkv/bias", "[3, H, d]", "blocks.{i}.patch_attn.qkv.bias", FLAT),
    NameRow(
        "blocks/patch_attn/out/kernel", "[H, d, D]", "blocks.{i}.patch_attn.proj.weight", FROM_HEADS
    ),
    NameRow("blocks/patch_attn/out/bias", "[D]", "blocks.{i}.patch_attn.proj.bias", SAME),
    NameRow("blocks/ls1/gamma", "[D]", "blocks.{i}.ls1.gamma", SAME),
    NameRow("blocks/norm2/scale", "[D]", "blocks.{i}.norm2.weight", SAME),
    NameRow("blocks/norm2/bias", "[D]", "blocks.{i}.norm2.bias", SAME),
    NameRow("blocks/mlp/fc1/kernel", "[D, M]", "blocks.{i}.mlp.fc1.weight", MATRIX),
    NameRow("blocks/mlp/fc1/bias", "[M]", "blocks.{i}.mlp.fc1.bias", SAME),
    NameRow("blocks/mlp/fc2/kernel", "[M, D]", "blocks.{i}.mlp.fc2.weight", MATRIX),
    NameRow("blocks/mlp/fc2/bias", "[D]", "blocks.{i}.mlp.fc2.bias", SAME),
    NameRow("blocks/mlp/w12/kernel", "[D, 2 M]", "blocks.{i}.mlp.w12.weight", MATRIX),
    NameRow("blocks/mlp/w12/bias", "[2 M]", "blocks.{i}.mlp.w12.bias", SAME),
    NameRow("blocks/mlp/w3/kernel", "[M, D]", "blocks.{i}.mlp.w3.weight", MATRIX),
    NameRow("blocks/mlp/w3/bias", "[D]", "blocks.{i}.mlp.w3.bias", SAME),
    NameRow("blocks/ls2/gamma", "[D]", "blocks.{i}.ls2.gamma", SAME),
    NameRow("norm/scale", "[D]", "norm.weight", SAME),
    NameRow("norm/bias", "[D]", "norm.bias", SAME),
)

HEAD = (
    NameRow("fc1/kernel", "[D, 2048]", "mlp.0.weight", MATRIX),
    NameRow("fc1/bias", "[2048]", "mlp.0.bias", SAME),
    NameRow("fc2/kernel", "[2048, 2048]", "mlp.2.weight", MATRIX),
    NameRow("fc2/bias", "[2048]", "mlp.2.bias", SAME),
    NameRow("fc3/kernel", "[2048, 256]", "mlp.4.weight", MATRIX),
    NameRow("fc3/bias", "[256]", "mlp.4.bias", SAME),
    NameRow("last_layer/direction", "[256, K]", "last_layer.weight_v", MATRIX),
    NameRow("last_layer/gain", "[K]", "last_layer.weight_g", COLUMN),
)

_ROWS = {row.path: row for row in BACKBONE + HEAD}


def to_torch(params: Mapping) -> dict[str, Array]:
    """The tree of a backbone or a head as a flat state dict: float32, contiguous."""
    state = {}
    for path, array in _leaves(params):
        row, array = _ROWS[path], np.asarray(array)
        layers = enumerate(array) if "{i}" in row.name else ((None, array),)
        for i, part in layers:
            state[row.name.format(i=i)] = np.ascontiguousarray(row.form.to_torch(part))
    return state


def from_torch(arrays: Mapping[str, Array], like: Mapping, *, source: str) -> dict:
    """A tree like `like` (arrays or ShapeDtypeStructs) from a state dict in our names.

    Every tensor must be present and have its shape, and there must be no other tensors. source: the
    file, for the message.

    Raises:
      UserError: a tensor is missing, is unknown, or has another shape or dtype, or its values are
        not finite.
    """
    left = dict(arrays)

    def take(name: str, form: Form, shape: tuple[int, ...]) -> Array:
        if name not in left:
            raise UserError(
                f"{source} has no {name}: it is incomplete, or of another model than it says"
            )
        array = left.pop(name)
        expected = form.to_torch(np.broadcast_to(np.float32(0), shape)).shape
        if array.shape != expected:
            raise UserError(
                f"{source}: {name} is {list(array.shape)}, not {list(expected)}: it is "
                + ("transposed" if array.shape == expected[::-1] else "of another model")
            )
        if array.dtype.kind != "f":
            raise UserError(
                f"{source}: {name} is of {array.dtype}: only floating point can be read"
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"{source}: {name} holds NaN or infinity: it is damaged, or its training diverged; "
                "give other weights"
            )
        return np.ascontiguousarray(form.back(array, shape), np.float32)

    def build(path: str, leaf) -> Array:
        row = _ROWS[path]
        if "{i}" not in row.name:
            return take(row.name, row.form, leaf.shape)
        return np.stack(
            [take(row.name.format(i=i), row.form, leaf.shape[1:]) for i in range(leaf.shape[0])]
        )

    tree: dict = {}
    for path, leaf in _leaves(like):
        *parents, last = path.split("/")
        place = tree
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = build(path, leaf)
    if left:
        raise UserError(f"{source} has {min(left)}, which this model does not have")
    return tree


def _leaves(tree: Mapping, path: str = "") -> Iterator[tuple[str, Array]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}/")
        else:
            yield path + name, value
