"""What every backbone returns."""

from typing import NamedTuple

import jax


def one_line(value) -> str:
    """Describes a tuple of arrays, or of tuples and dictionaries of arrays, by their shapes: in a
    notebook the numbers would fill pages."""
    if hasattr(value, "_asdict"):
        inside = ", ".join(f"{name}={one_line(part)}" for name, part in value._asdict().items())
        return f"{type(value).__name__}({inside})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {one_line(part)}' for name, part in value.items())}}}"
    return f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else repr(value)


class Tokens(NamedTuple):
    """Tokens at one point of a backbone, in the compute dtype.

    registers: [B, N, D], head by head for RATS (head 0's registers first); a ViT's plain registers
        (N may be 0); a Perceiver's latents, or its output queries in the last layer.
    patches: [B, L, D], row by row.
    global_vector: [B, D], mean of the registers, or [CLS] for a ViT.
    """

    registers: jax.Array
    patches: jax.Array
    global_vector: jax.Array

    __repr__ = one_line


class Layer(NamedTuple):
    """The output of a layer: as it is, and after the model's final LayerNorm."""

    raw: Tokens
    normed: Tokens

    __repr__ = one_line


class Features(NamedTuple):
    """Output of a backbone.

    registers, patches, global_vector: of the last layer after the final LayerNorm, see Tokens;
        global_vector is the input of the DINO head.
    attention: layer -> attention over the patches, float32, for the requested layers:
        RATS [B, H, n, L] (shared registers [B, H, N, L]), ViT [B, H, 1 + N, L] ([CLS] first),
        Perceiver [B, H, latents, L] of layer 0.
    layers: layer -> its output, for the requested layers.
    """

    registers: jax.Array
    patches: jax.Array
    global_vector: jax.Array
    attention: dict[int, jax.Array]
    layers: dict[int, Layer]

    __repr__ = one_line
