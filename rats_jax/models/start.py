"""The scale of a backbone's parameters at the start of training.

The paper and the official code draw every kernel from a normal distribution of standard deviation
0.02. A kernel that preserves the scale of its input has a standard deviation of width^-0.5: 0.036
at 768, 0.05 at 384, 0.1 at 96. At small widths 0.02 makes attention logits so small that attention
stays uniform for hundreds of steps (docs/emergence.md).
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx

from rats_jax.models.linear import STD


class Scales(NamedTuple):
    """kernel_std: standard deviation of the kernels of attention and MLP, and of the position
    embedding. query_key_gain, value_gain: additional factors on the projections to queries and
    keys, and to values."""

    kernel_std: float = STD
    query_key_gain: float = 1.0
    value_gain: float = 1.0


def rescale(backbone: nnx.Module, scales: Scales) -> nnx.Module:
    """Rescales the parameters of a newly initialised backbone, in place. The patch embedding,
    biases, norms and registers are unchanged."""
    if scales == Scales():
        return backbone
    factor = scales.kernel_std / STD
    qkv = jnp.array([scales.query_key_gain, scales.query_key_gain, scales.value_gain])
    for path, parameter in nnx.iter_graph(backbone):
        if not isinstance(parameter, nnx.Param) or "patch_embed" in path:
            continue
        if path[-1] in ("kernel", "pos_embed"):
            parameter[...] *= factor
        if path[-2:] == ("qkv", "kernel"):  # [depth, D, 3, H, d]
            parameter[...] *= qkv[:, None, None]
    return backbone
