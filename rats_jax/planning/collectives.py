"""The data that chips send each other in a step, read from the compiled program."""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from rats_jax.planning.hlo import COLLECTIVES, Instruction, Program

#: Bytes that each of n chips sends per byte of the largest array of a collective. This is for
#: rings; no other algorithm sends fewer.
SENT = {"all-reduce": lambda n: 2 * (n - 1) / n, "collective-permute": lambda n: 1.0}
SENT |= {"collective-broadcast": SENT["collective-permute"]}


@dataclass(frozen=True)
class Traffic:
    """Collectives of one kind and origin.

    dtype: of most of the bytes. axes: the axes of the mesh that they cross. count: executions in a
    step on each chip. bytes: total size of their arrays (for a gather the array after it, for a
    scatter the array before it). sent: the least bytes that a chip sends."""

    kind: str
    dtype: str
    axes: tuple[str, ...]
    origin: str
    count: int
    bytes: int
    sent: float


def collectives(
    program: Program, mesh_shape: dict[str, int], *, parameters: Collection[int] = ()
) -> list[Traffic]:
    """Traffic by kind, dtype, axes and origin, the most bytes first.

    mesh_shape: {axis: size} in the order of the mesh. parameters: element counts of the parameters
    as a chip holds them, by which sums of gradients are recognised.
    """
    sums = defaultdict(lambda: [0, 0, 0.0])
    # On TPUs a reduce-scatter is a fusion of an all-reduce and a slice of its result.
    scattered = {
        id(instruction)
        for name, body in program.computations.items()
        if name.startswith("all-reduce-scatter")
        for instruction in body
    }
    for instruction, times in program.executed(within_fusions=True):
        kind = instruction.opcode.removesuffix("-start")
        if kind not in COLLECTIVES or id(instruction) in program.repeated:
            continue
        if id(instruction) in scattered:
            kind = "reduce-scatter"
        devices = math.prod(mesh_shape.values())
        groups = _groups(instruction, devices)
        moved, dtype, gradients = _arrays(instruction, kind, len(groups[0]), parameters)
        axes = _axes(groups, mesh_shape) if kind != "collective-permute" else ()
        origin = "gradients" if gradients else _origin(program, instruction)
        of = sums[kind, dtype, axes or _crossed(groups, mesh_shape), origin]
        of[0] += times
        of[1] += times * moved
        n = len(groups[0])
        of[2] += times * moved * SENT.get(kind, lambda n: (n - 1) / n)(n)
    rows = [Traffic(*key, *values) for key, values in sums.items()]
    return sorted(rows, key=lambda row: -row.bytes)


def _arrays(instruction: Instruction, kind: str, group: int, parameters: Collection[int]):
    """(bytes of the whole arrays, the dtype of most bytes, whether most are gradients)"""
    arrays = instruction.arrays
    if instruction.opcode == "all-gather-start" or instruction.opcode == "collective-permute-start":
        arrays = arrays[len(instruction.operands) : 2 * len(instruction.operands)]
    elif instruction.opcode.endswith("-start") and kind != "all-reduce":
        arrays = arrays[-len(instruction.operands) :]
    scale = group if instruction.opcode.startswith("reduce-scatter") else 1
    by_dtype, gradients = defaultdict(int), 0
    for array in arrays:
        by_dtype[array.dtype] += array.bytes * scale
        # Gradients are float32 for any compute dtype.
        gradients += array.bytes * scale * (array.elements in parameters and array.dtype == "f32")
    total = sum(by_dtype.values())
    sums = kind in ("all-reduce", "reduce-scatter")
    dtype = max(by_dtype, key=by_dtype.get, default="")
    return total, dtype, sums and total > 0 and gradients >= total / 2


def _groups(instruction: Instruction, devices: int) -> list[list[int]]:
    """The groups of devices that communicate. XLA writes them in four forms: lists, an iota
    ([2,4]<=[8], perhaps transposed), axes of a mesh, and the pairs of a permutation."""
    text = instruction.attributes
    if pairs := re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", text):
        found = re.findall(r"\{(\d+),(\d+)\}", pairs[1])
        return [[int(a), int(b)] for a, b in found if a != b] or [[0]]
    if lists := re.search(r"replica_groups=\{((?:\{[\d,]+\},?)+)\}", text):
        return [_integers(group) for group in re.findall(r"\{([\d,]+)\}", lists[1])]
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, of, order = (_integers(numbers) if numbers else None for numbers in iota.groups())
        ids = np.arange(math.prod(of)).reshape(of)
        ids = ids if order is None else ids.transpose(order)
        return ids.reshape(shape).tolist()
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]([^{]*)\{([^}]*)\}", text):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        ids = np.arange(math.prod(sizes.values()))
        if order := re.search(r"device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\)", mesh[2]):
            listed = _integers(order[1])
            if order[2]:
                ids = ids.reshape(listed).transpose(_integers(order[2])).ravel()
            elif len(listed) == len(ids):
                ids = np.array(listed)
        return _mesh_groups(ids.reshape(tuple(sizes.values())), list(sizes), mesh[3])
    return [list(range(devices))]


def _integers(text: str) -> list[int]:
    return [int(x) for x in text.split(",")]


def _mesh_groups(ids: np.ndarray, names: list[str], along: str) -> list[list[int]]:
    """Groups along some axes of a mesh of ids. 'a':(1)2 is a part of axis a: its size is 2, and the
    size of the part before it is 1."""
    shape, parts = [], []
    for i, name in enumerate(names):
        size = ids.shape[i]
        if sub := re.search(rf"'{re.escape(name)}':\((\d+)\)(\d+)", along):
            before, length = int(sub[1]), int(sub[2])
            shape += [before, length, size // before // length]
            parts += [False, True, False]
        else:
            shape.append(size)
            parts.append(re.search(rf"'{re.escape(name)}'", along) is not None)
    ids = ids.reshape(shape)
    within = [i for i, part in enumerate(parts) if part]
    across = [i for i, part in enumerate(parts) if not part]
    length = math.prod(shape[i] for i in within)
    return ids.transpose(across + within).reshape(-1, length).tolist()


def _axes(groups: list[list[int]], mesh_shape: dict[str, int]) -> tuple[str, ...]:
    """The axes of the mesh that have exactly these groups; () if no axes do."""
    wanted = {frozenset(group) for group in groups}
    ids = np.arange(math.prod(mesh_shape.values())).reshape(tuple(mesh_shape.values()))
    names = [name for name, size in mesh_shape.items() if size > 1]
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            along = " ".join(f"'{name}'" for name in chosen)
            if {frozenset(g) for g in _mesh_groups(ids, list(mesh_shape), along)} == wanted:
                return chosen
    return ()


def _crossed(groups: list[list[int]], mesh_shape: dict[str, int]) -> tuple[str, ...]:
    """The axes on which members of a group differ."""
    places = np.array(np.unravel_index(np.concatenate(groups), tuple(mesh_shape.values())))
    ends = np.cumsum([len(group) for group in groups])[:-1]
    differ = np.zeros(len(mesh_shape), bool)
    for of_group in np.split(places, ends, axis=1):
        differ |= (of_group != of_group[:, :1]).any(1)
    return tuple(name for name, yes in zip(mesh_shape, differ, strict=True) if yes)


#: The names of scopes in dino/step.py and dino/network.py.
_PASSES = ("crops", "teacher", "student", "loss", "optimizer")
_PLACES = ("backbone", "head")


def _origin(program: Program, instruction: Instruction) -> str:
    """The pass, the part of the network and the module, such as "backward, backbone, MLP"."""
    made_by = instruction.attribute(r'op_name="([^"]*)"') or ""
    words = set(re.findall(r"\w+", made_by))
    parts = ["backward"] if "transpose" in words else []
    parts = parts or [name for name in _PASSES if name in words][:1]
    parts += [name for name in _PLACES if name in words][:1]
    modules = [
        function.split(".")[0]
        for file, function in program.frames(instruction)
        if "/rats_jax/models/" in file and re.match(r"[A-Z]\w*\.", function)
    ]
    return ", ".join(parts + modules[:1]) or "unknown"
