"""Parses the text of a compiled program: which instructions run, and how many times.

XLA's own analyses count the body of a loop once. Here an instruction in a body counts once for each
iteration of the loop.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

#: Bytes of an element. Types that are not arrays (tokens, opaque types) are not listed.
SIZES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}
SIZES |= {f"{kind}{bits}": bits // 8 for kind in "suf" for bits in (8, 16, 32, 64)}

COLLECTIVES = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
    *("collective-broadcast", "ragged-all-to-all"),
)

_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = ")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
_TABLE_ROW = re.compile(r"(\d+) (.*)")


@dataclass(frozen=True)
class Array:
    """layout: as XLA writes it, such as "{1,0:T(8,128)}", minor dimension first; "" if it is not
    given."""

    dtype: str
    shape: tuple[int, ...]
    layout: str

    @property
    def fast(self) -> bool:
        """Whether it is in a TPU's vector memory instead of HBM."""
        return "S(1)" in self.layout

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return int(self.elements * SIZES.get(self.dtype, 0))

    @property
    def padded_bytes(self) -> int:
        """Bytes including the padding of the minor dimensions to the tiles of a TPU's layout."""
        found = re.match(r"\{([\d,]+):T\(([\d,]+)\)", self.layout)
        if not found:
            return self.bytes
        order, tile = ([int(x) for x in part.split(",")] for part in found.groups())
        shape = list(self.shape)
        for dimension, side in zip(order, reversed(tile), strict=False):
            shape[dimension] = math.ceil(shape[dimension] / side) * side
        return int(math.prod(shape) * SIZES.get(self.dtype, 0))


@dataclass(frozen=True)
class Instruction:
    """name = arrays opcode(operands), attributes. The arrays of a tuple are flattened in order."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    def attribute(self, pattern: str) -> str | None:
        """The first group of a regular expression that is searched in the attributes, or None."""
        found = re.search(pattern, self.attributes)
        return found and found[1]


@dataclass
class Program:
    """computations: {name: its instructions in order}; the entry is "ENTRY"."""

    computations: dict[str, list[Instruction]]
    tables: dict[str, dict[int, str]] = field(default_factory=dict)

    def executed(self, *, within_fusions: bool = False) -> Iterator[tuple[Instruction, int]]:
        """Every instruction that runs, and how many times. All branches of a conditional are
        included. A fusion is one instruction; `within_fusions` also yields those inside it."""
        yield from self._executed("ENTRY", 1, within_fusions)

    def _executed(self, computation: str, times: int, within: bool):
        for instruction in self.computations[computation]:
            yield instruction, times
            if instruction.opcode == "while":
                body = instruction.attribute(r"body=%?([\w.\-]+)")
                yield from self._executed(body, times * self.turns(instruction), within)
            elif instruction.opcode in ("call", "async-start") or (
                within and instruction.opcode == "fusion"
            ):
                for called in _CALLED.findall(instruction.attributes):
                    yield from self._executed(called, times, within)
            elif instruction.opcode == "conditional":
                for one, several in _BRANCHES.findall(instruction.attributes):
                    for called in (one or several).replace("%", "").split(", "):
                        yield from self._executed(called, times, within)

    def turns(self, loop: Instruction) -> int:
        """The iterations of a `while`: XLA's known trip count, or the constant in its condition
        (all loops here count up from 0 to a constant); 1 if there is neither."""
        known = loop.attribute(r'known_trip_count":\{"n":"(\d+)"')
        if known:
            return int(known)
        condition = self.computations[loop.attribute(r"condition=%?([\w.\-]+)")]
        limits = [int(x.operands[0]) for x in condition if _is_integer(x)]
        return max(limits, default=1)

    @cached_property
    def repeated(self) -> frozenset[int]:
        """Ids of instructions that repeat what is counted elsewhere. An asynchronous collective of
        a TPU appears in the fusion that starts it, in each fusion that runs during it, and in the
        one that ends it."""
        ids = set()
        for name, body in self.computations.items():
            ends = [x for x in body if "AsyncCollectiveDone" in x.attributes]
            if ends or name.startswith("async_collective_fusion"):
                ids |= {id(x) for x in body if x.opcode in COLLECTIVES or x in ends}
        return frozenset(ids)

    def frames(self, instruction: Instruction) -> list[tuple[str, str]]:
        """The source of an instruction: (file, function), innermost first; [] if not known."""
        chain, frame = [], int(instruction.attribute(r"stack_frame_id=(\d+)") or 0)
        while frame and frame in self.tables.get("StackFrames", {}):
            numbers = self._numbers("StackFrames", frame)
            place = self._numbers("FileLocations", numbers["file_location_id"])
            file = self.tables["FileNames"][place["file_name_id"]].strip('"')
            function = self.tables["FunctionNames"][place["function_name_id"]].strip('"')
            chain.append((file, function))
            frame = numbers["parent_frame_id"] - 1  # one too high in the text; a root names itself
        return chain

    def _numbers(self, table: str, row: int) -> dict[str, int]:
        return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", self.tables[table][row])}

    @cached_property
    def estimated_cycles(self) -> int:
        """The sum of XLA's own estimates for a TPU, without overlap of operations; 0 on other
        devices."""
        return sum(
            times * int(cycles)
            for instruction, times in self.executed()
            if (cycles := instruction.attribute(r'"estimated_cycles":"(\d+)"'))
        )


def read_program(text: str) -> Program:
    """Parses the text of `compiled.as_text()`."""
    program, body, table = Program({}), None, None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            body = program.computations["ENTRY" if header[1] else header[2]] = []
        elif body is not None:
            if instruction := _read(line):
                body.append(instruction)
        elif line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
            table = program.tables[line] = {}
        elif table is not None and (row := _TABLE_ROW.fullmatch(line)):
            table[int(row[1])] = row[2]
    return program


def _read(line: str) -> Instruction | None:
    start = _INSTRUCTION.match(line)
    if not start:
        return None
    end = _closing(line, start.end()) if line[start.end()] == "(" else line.index(" ", start.end())
    opening = line.index("(", end)
    closing = _closing(line, opening)
    arrays = tuple(
        Array(dtype, tuple(map(int, filter(None, shape.split(",")))), layout)
        for dtype, shape, layout in _ARRAY.findall(line[start.end() : end])
    )
    operands = re.sub(r"/\*.*?\*/", "", line[opening + 1 : closing - 1])
    return Instruction(
        name=start[1],
        arrays=arrays,
        opcode=line[end:opening].strip(),
        operands=tuple(x.split()[-1].lstrip("%") for x in _split(operands)),
        attributes=line[closing:],
        is_root=line.lstrip().startswith("ROOT "),
    )


def _closing(line: str, opening: int) -> int:
    """The position after the parenthesis that closes the one at `opening`."""
    depth = 0
    for i in range(opening, len(line)):
        depth += {"(": 1, ")": -1}.get(line[i], 0)
        if not depth:
            return i + 1
    return len(line)


def _split(operands: str) -> list[str]:
    """Splits at commas outside brackets, since older texts repeat the type of an operand:
    f32[2,3]{1,0} %x."""
    parts, depth = [""], 0
    for character in operands:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def _is_integer(instruction: Instruction) -> bool:
    return instruction.opcode == "constant" and "".join(instruction.operands).isdigit()
