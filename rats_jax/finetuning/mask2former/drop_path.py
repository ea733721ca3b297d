"""Drop path for the blocks of modeling_rats.py, which have none, as in pretraining.

The rate rises linearly from 0 in the first block. Each image has one draw for attention and another
for the MLP; its registers and patches share them.
"""

from functools import partial

import torch
from torch import Tensor, nn

from rats_jax.finetuning.mask2former.files.modeling_rats import Block, RegisterBlock


def add_drop_path(encoder: nn.Module, rate: float) -> None:
    """Gives every block a forward pass with drop path in training mode. Names of parameters and
    evaluation stay as they are."""
    for block, own in zip(encoder.blocks, torch.linspace(0, rate, encoder.depth), strict=True):
        forward = of_registers if isinstance(block, RegisterBlock) else of_tokens
        block.forward = partial(forward, block, own.item())


def of_registers(
    block: RegisterBlock, rate: float, registers: Tensor, patches: Tensor
) -> tuple[Tensor, Tensor]:
    """RegisterBlock.forward with drop path."""
    if not block.training:
        return RegisterBlock.forward(block, registers, patches)
    attention, mlp = draw(rate, patches)
    to_registers, to_patches = block.attend(registers, patches)
    registers = registers + attention[..., None] * to_registers
    patches = patches + attention * to_patches
    return (
        registers + mlp[..., None] * block.mlp(block.norm2(registers)),
        patches + mlp * block.mlp(block.norm2(patches)),
    )


def of_tokens(block: Block, rate: float, x: Tensor, context: Tensor | None = None, rope=()):
    """Block.forward with drop path."""
    if not block.training:
        return Block.forward(block, x, context, rope)
    attention, mlp = draw(rate, x)
    context = None if context is None else block.norm1(context)
    x = x + attention * block.ls1(block.attn(block.norm1(x), context, rope))
    return x + mlp * block.ls2(block.mlp(block.norm2(x)))


def draw(rate: float, tokens: Tensor) -> Tensor:
    """What the residuals of attention and MLP are multiplied by, of tokens [B, T, D]: [2, B, 1, 1],
    0 or 1 / (1 - rate)."""
    kept = torch.full((2, len(tokens), 1, 1), 1 - rate, device=tokens.device)
    return (torch.bernoulli(kept) / kept).to(tokens.dtype)
