"""Names and layouts of the JAX parameter tree, written out as a torch state dict.

The same function carries parameters and gradients, so both are compared in torch's layout.
"""

from collections.abc import Mapping

import numpy as np
import torch


def to_torch(params: Mapping) -> dict[str, torch.Tensor]:
    """A tree of arrays (a backbone, a head, or {"backbone": ..., "head": ...}) as a state dict.

    Stacked blocks [l, ...] become blocks.0 ... blocks.l-1; the heads' axes are fused.
    Raises KeyError for a parameter that it does not know.
    """
    state = {}
    for path, array in _leaves(params):
        prefix = [path.pop(0)] if path[0] in ("backbone", "head") else []
        array = np.asarray(array)
        if path[0] == "blocks":
            for i, layer in enumerate(array):
                name, value = _block_parameter(path[1:], layer)
                state[".".join([*prefix, "blocks", str(i), name])] = value
        else:
            name, value = _outer_parameter(path, array)
            state[".".join([*prefix, name])] = value
    return {name: torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()}


def randomised(params: Mapping, *, seed: int) -> dict:
    """A tree of the same shapes in which every array matters: float32 NumPy.

    A fresh network hides mistakes: its biases are 0, its norms 1, its attention nearly uniform.
    """
    rng = np.random.default_rng(seed)

    def draw(tree: Mapping) -> dict:
        return {
            name: draw(value)
            if isinstance(value, Mapping)
            else _draw(rng, name, np.shape(value)).astype(np.float32)
            for name, value in tree.items()
        }

    return draw(params)


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = rng.standard_normal(shape)
    match name:
        case "scale" | "gain":
            return 1 + 0.2 * noise
        case "bias":
            return 0.2 * noise
        case "kernel" | "direction" | "communicate":
            return 0.08 * noise
    return noise  # tokens and positions


def load(module: torch.nn.Module, params: Mapping) -> None:
    """Strictly; only a gain fixed at 1 (norm_last_layer) may be absent from the JAX tree."""
    missing, unexpected = module.load_state_dict(to_torch(params), strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith("last_layer.weight_g") for name in missing), missing


def _leaves(tree: Mapping, path: tuple[str, ...] = ()):
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))
        else:
            yield [*path, name], value


def _dense(path: list[str], array: np.ndarray, *, inputs: int = 1) -> tuple[str, np.ndarray]:
    """A kernel [in..., out...] of `inputs` input axes, or a bias, as a torch Linear's."""
    if path[-1] == "bias":
        return "bias", array.reshape(-1)
    assert path[-1] == "kernel", path
    return "weight", array.reshape(np.prod(array.shape[:inputs]), -1).T


def _norm(path: list[str], array: np.ndarray) -> tuple[str, np.ndarray]:
    return {"scale": "weight", "bias": "bias"}[path[-1]], array


def _block_parameter(path: list[str], array: np.ndarray) -> tuple[str, np.ndarray]:
    """One layer's share of a stacked parameter, path and name taken from below `blocks`."""
    match path[:-1]:
        case ["norm1" | "norm2" as norm]:
            name, value = _norm(path, array)
            return f"{norm}.{name}", value
        case ["mlp", "fc1" | "fc2" as layer]:
            name, value = _dense(path, array)
            return f"mlp.{layer}.{name}", value
        case ["attn" | "patch_attn" as attention, "qkv"]:  # kernel [D, 3, H, d]
            name, value = _dense(path, array)
            return f"{attention}.qkv.{name}", value
        case ["attn" | "patch_attn" as attention, "out"]:  # kernel [H, d, D]
            name, value = _dense(path, array, inputs=2)
            return f"{attention}.proj.{name}", value
        case ["attn"] if path[-1] == "communicate":  # [3, H, d, d]
            return "attn.communicate", array
    raise KeyError(f"unknown block parameter {path}")


def _outer_parameter(path: list[str], array: np.ndarray) -> tuple[str, np.ndarray]:
    match path:
        case ["patch_embed", "kernel"]:  # [p, p, 3, D]
            return "patch_embed.proj.weight", array.transpose(3, 2, 0, 1)
        case ["patch_embed", "bias"]:
            return "patch_embed.proj.bias", array
        case ["pos_embed" | "registers" | "cls_token" | "latents" | "queries" as name]:
            return name, array.reshape(1, -1, array.shape[-1])
        case ["norm", _]:
            name, value = _norm(path, array)
            return f"norm.{name}", value
        case ["fc1" | "fc2" | "fc3" as layer, _]:  # the head; a GELU follows each of the first two
            name, value = _dense(path, array)
            return f"mlp.{2 * (int(layer[-1]) - 1)}.{name}", value
        case ["last_layer", "direction"]:  # [256, K]
            return "last_layer.weight_v", array.T
        case ["last_layer", "gain"]:
            return "last_layer.weight_g", array.reshape(-1, 1)
    raise KeyError(f"unknown parameter {path}")
