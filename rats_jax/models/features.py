"""What every backbone returns."""

from typing import NamedTuple

import jax


class Features(NamedTuple):
    """Output of a backbone, after its final LayerNorm, in the compute dtype.

    registers: [B, N, D], head by head for RATS (head 0's registers first); a ViT's plain registers
        (N may be 0); a Perceiver's output queries.
    patches: [B, L, D], row by row.
    global_vector: [B, D], the input of the DINO head: mean of the registers, or [CLS] for a ViT.
    attention: layer -> attention over the patches, float32, for the layers asked for:
        RATS [B, H, n, L] (shared registers [B, H, N, L]), ViT [B, H, 1 + N, L] ([CLS] first),
        Perceiver [B, H, latents, L] of layer 0.
    """

    registers: jax.Array
    patches: jax.Array
    global_vector: jax.Array
    attention: dict[int, jax.Array]
