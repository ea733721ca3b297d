"""What a stack of blocks keeps for the backward pass, to the byte."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rats_jax.models.block import Block, RegisterBlock, run_blocks, stack

DEPTH, BATCH, HEADS, WIDTH = 3, 5, 4, 32
REGISTERS, PATCHES = 8, 7  # of all heads; no axis of a kernel is as long as the batch
BF16 = 2


def kept(block, tokens, *, remat: str, **options) -> tuple[Counter, Counter]:
    """(dtype, shape) of what is kept of every layer: of activations, and of parameters."""

    def make(rngs):
        dtype = jnp.bfloat16
        return block(width=WIDTH, heads=HEADS, mlp_ratio=4, dtype=dtype, rngs=rngs, **options)

    blocks = nnx.eval_shape(lambda: stack(make, depth=DEPTH, rngs=nnx.Rngs(0)))
    graph, state = nnx.split(blocks)

    def forward(params, tokens):
        return run_blocks(nnx.merge(graph, params), tokens, layers=range(DEPTH), remat=remat)[0]

    params = nnx.to_pure_dict(state)
    backward = jax.eval_shape(lambda *x: jax.vjp(forward, *x)[1], params, tokens)
    arrays = [x for x in jax.tree.leaves(backward) if x.shape[:1] == (DEPTH,)]
    activations = Counter((x.dtype, x.shape[1:]) for x in arrays if BATCH in x.shape)
    parameters = Counter((x.dtype, x.shape[1:]) for x in arrays if BATCH not in x.shape)
    own = Counter((x.dtype, x.shape[1:]) for x in jax.tree.leaves(params))
    return activations, parameters - own


def bytes_per_image(activations: Counter) -> int:
    return sum(
        count * dtype.itemsize * int(np.prod(shape)) // BATCH
        for (dtype, shape), count in activations.items()
    )


#: Arrays of the width that are kept of a patch and of a register. In "dots": what goes into the
#: block; query, key and value; what attention adds; the MLP's hidden layer, four widths. "none"
#: has besides what enters each product, and what enters the second norm.
WIDTHS = {
    "none": (1 + 1 + 3 + 1 + 1 + 1 + 4 + 4, 1 + 1 + 1 + 1 + 4 + 4),
    "dots": (1 + 3 + 1 + 4, 1 + 4),
    "full": (1, 1),
}


@pytest.mark.parametrize("remat", WIDTHS)
def test_a_register_block_keeps_what_products_need_and_nothing_in_float32(remat):
    bf16, per_head = jnp.bfloat16, REGISTERS // HEADS
    tokens = (
        jax.ShapeDtypeStruct((BATCH, HEADS, per_head, WIDTH), bf16),
        jax.ShapeDtypeStruct((BATCH, PATCHES, WIDTH), bf16),
    )
    options = dict(communicate="parameter_free", sharing="partitioned", parallel="none")
    activations, copies = kept(RegisterBlock, tokens, remat=remat, **options)
    of_patch, of_register = WIDTHS[remat]
    expected = BF16 * WIDTH * (PATCHES * of_patch + REGISTERS * of_register)
    if remat == "none":  # of each register its query and its message, as wide as a head
        expected += BF16 * REGISTERS * 2 * WIDTH // HEADS
    assert bytes_per_image(activations) == expected
    assert {dtype for dtype, _ in activations} == {jnp.dtype(bf16)}
    # None of a kernel; a bias is a thousandth of one.
    assert all(int(np.prod(shape)) <= WIDTH for _, shape in copies)


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_a_vit_block_keeps_no_probabilities(remat):
    tokens = jax.ShapeDtypeStruct((BATCH, PATCHES, WIDTH), jnp.bfloat16)
    activations, _ = kept(Block, tokens, remat=remat)
    assert bytes_per_image(activations) == BF16 * WIDTH * PATCHES * WIDTHS[remat][0]


def test_no_kept_array_ends_in_the_width_of_a_head():
    """64 mostly, which a TPU pads to 128."""
    tokens = jax.ShapeDtypeStruct((BATCH, PATCHES, WIDTH), jnp.bfloat16)
    activations, _ = kept(Block, tokens, remat="dots")
    assert {shape[-1] % WIDTH for _, shape in activations} == {0}
