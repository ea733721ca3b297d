"""What the forward pass keeps of each block for the backward pass, read from the compiled program.

In a scan over blocks these are stacks: arrays with one entry for each layer, which the student's
forward loops write.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from rats_jax.planning.hlo import Array, Instruction, Program


@dataclass(frozen=True)
class Stack:
    """One array that a loop over the blocks fills. bytes: padded, over all layers. padding: ratio
    of these to the bytes without padding. origin: the function that makes it, or "" if not known.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    padding: float
    origin: str


def kept_stacks(
    program: Program, *, crops: Collection[int], parameters: Collection[int]
) -> list[Stack]:
    """The stacks of one chip and one micro-batch, the largest first. Empty if blocks are not in a
    loop.

    crops: for each crop size, the number of crops that a chip processes at once. parameters:
    element counts of parameters, which loops also carry.
    """
    stacks = []
    for loop, _ in program.executed():
        made_by = loop.attribute(r'op_name="([^"]*)"') or ""
        if loop.opcode != "while" or "jvp(" not in made_by or "transpose(" in made_by:
            continue
        turns = program.turns(loop)
        body = program.computations[loop.attribute(r"body=%?([\w.\-]+)")]
        root = next(x for x in body if x.is_root)
        by_name = {x.name: x for x in body}
        for i, array in enumerate(loop.arrays):
            of_layers = array.shape[:1] == (turns,) and not array.fast
            of_crops = len(array.shape) > 1 and array.shape[1] in crops
            if not of_layers or (array.elements in parameters and not of_crops):
                continue
            origin = _origin(program, by_name, root.operands[i]) if root.operands else ""
            stacks.append(_stack(array, origin))
    return sorted(stacks, key=lambda stack: -stack.bytes)


def _stack(array: Array, origin: str) -> Stack:
    padded = array.padded_bytes
    padding = padded / array.bytes if array.bytes else math.nan
    return Stack(array.dtype, array.shape, padded, padding, origin)


def _origin(program: Program, by_name: dict[str, Instruction], name: str) -> str:
    instruction = by_name.get(name)
    while instruction and instruction.operands:
        functions = [name for file, name in program.frames(instruction) if "/models/" in file]
        if functions and not functions[0].startswith("run_blocks"):
            return functions[0].removesuffix(".__call__")
        if instruction.opcode not in ("copy", "bitcast", "get-tuple-element", "copy-done"):
            break
        instruction = by_name.get(instruction.operands[0])
    return ""
