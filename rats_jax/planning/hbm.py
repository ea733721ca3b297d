"""Bytes that a compiled program moves to and from HBM. Loop bodies count once per iteration.

This is the sum of what each scheduled instruction reads and writes: for a fusion its arguments and
results, for a slice only the slice. Arrays in the vector memory of a TPU and the padding of layouts
do not count.
"""

from collections.abc import Sequence

from rats_jax.planning.hlo import Array, Instruction, Program

#: Instructions that move nothing: references to other arrays, or ends of asynchronous operations.
FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "iota", "opt-barrier", "add-dependency"),
}
SLICES = ("slice", "dynamic-slice", "gather")


def hbm_bytes(program: Program) -> int:
    """The bytes of one chip in one run of the program."""
    made = {x.name: x for body in program.computations.values() for x in body}
    return sum(times * _moved(program, x, made) for x, times in program.executed())


def _moved(program: Program, instruction: Instruction, made: dict[str, Instruction]) -> int:
    opcode, arrays = instruction.opcode, instruction.arrays
    operands = [made[name].arrays if name in made else () for name in instruction.operands]
    if (
        opcode in FREE
        or opcode.endswith(("-done", "-update"))
        or "AllocateBuffer" in (instruction.attribute('custom_call_target="([^"]*)"') or "")
    ):
        return 0
    if opcode in ("copy-start", "collective-permute-start"):  # (to, from, token) or the reverse
        return _all(arrays[:2])
    if opcode == "slice-start":  # ((from), to, token)
        return _part(arrays[:1], arrays[1:2]) + _all(arrays[1:2])
    if opcode in SLICES:
        return _part(operands[0], arrays) + _all(arrays)
    if opcode == "dynamic-update-slice":  # in place
        return _part(arrays, operands[1]) + _all(operands[1])
    if opcode == "fusion":
        body = program.computations[_called(instruction)]
        read = (_read(program, body, i, whole) for i, whole in enumerate(operands))
        return sum(read) + _written(program, body, arrays)
    return _all(arrays) + sum(map(_all, operands))


def _read(program: Program, body: list[Instruction], index: int, whole: Sequence[Array]) -> int:
    """Bytes that a fusion reads from its argument number `index`."""
    parameter = next(x for x in body if x.opcode == "parameter" and x.operands[:1] == (str(index),))
    total, names = 0, {parameter.name}
    for use in body:
        taken = [i for i, name in enumerate(use.operands) if name in names]
        if not taken or id(use) in program.repeated:
            continue
        if use.opcode == "bitcast":
            names.add(use.name)
        elif use.opcode in SLICES and taken == [0]:
            total += _part(whole, use.arrays)
        elif use.opcode == "fusion":
            inner = program.computations[_called(use)]
            total += sum(_read(program, inner, i, whole) for i in taken)
        elif use.opcode != "dynamic-update-slice" or taken != [0]:
            return _all(whole)
    return min(total, _all(whole))


def _written(program: Program, body: list[Instruction], arrays: Sequence[Array]) -> int:
    """Bytes that a fusion writes; for an array updated in place, only the update."""
    made = {x.name: x for x in body}
    root = next(x for x in body if x.is_root)
    results = [made[name] for name in root.operands] if root.opcode == "tuple" else [root]
    if len(results) != len(arrays):
        return _all(arrays)
    total = 0
    for result, array in zip(results, arrays, strict=True):
        while result.opcode == "bitcast":
            result = made[result.operands[0]]
        if id(result) in program.repeated:
            continue
        if result.opcode == "dynamic-update-slice":
            total += _part([array], made[result.operands[1]].arrays)
        elif result.opcode == "fusion":
            total += _written(program, program.computations[_called(result)], [array])
        else:
            total += _all([array])
    return total


def _called(fusion: Instruction) -> str:
    return fusion.attribute(r"calls=%?([\w.\-]+)")


def _all(arrays: Sequence[Array]) -> int:
    return sum(array.bytes for array in arrays if not array.fast)


def _part(whole: Sequence[Array], part: Sequence[Array]) -> int:
    """Bytes of a part of an array, which is in the same memory as the whole."""
    return 0 if all(array.fast for array in whole) else sum(array.bytes for array in part)
