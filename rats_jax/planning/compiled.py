"""Compiles the training step of a config, for hardware that need not be available."""

import itertools
import math
import re
import time
from dataclasses import dataclass

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import make_dino, make_mesh
from rats_jax.models.memory import TrainingBytes
from rats_jax.planning.hlo import Program, read_program
from rats_jax.planning.topology import Hardware
from rats_jax.runs.pretraining_programs import abstract_samples, make_train_step
from rats_jax.runs.programs import abstract_state
from rats_jax.validation import validate

#: Bytes of the units in XLA's messages.
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_AMOUNT = r"([\d.]+)([KMGT]?)"
_TOO_LARGE = (
    rf"\({_AMOUNT}\) exceeds available \w+ \({_AMOUNT}\)",
    rf"Used {_AMOUNT} of {_AMOUNT} hbm",
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on each chip. arguments: of the step. results: those that do not reuse the memory of an
    argument. temporaries: intermediate arrays. code: the program itself."""

    arguments: int
    results: int
    temporaries: int
    code: int

    @property
    def peak(self) -> int:
        return self.arguments + self.results + self.temporaries + self.code


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A training step. memory and program are None if XLA refused to compile it: it then needs at
    least `needs` bytes, more than are `available`. counted: for a step that was counted by hand
    instead (by_hand.py). seconds: for lowering and compiling."""

    mesh: Mesh
    state: dict
    seconds: float
    memory: Memory | None = None
    program: Program | None = None
    counted: TrainingBytes | None = None
    needs: int = 0
    available: int = 0


def compile_step(config: ConfigDict, hardware: Hardware) -> Compiled:
    """Compiles the step. Raises UserError for a config that is not valid on this hardware."""
    validate(config)
    mesh = make_mesh(config, hardware.devices)
    # The number of images changes only constants of the schedules in the program.
    images = config.data.length or 1000 * config.optimizer.batch_size
    dino = make_dino(config, images=images)
    state = abstract_state(dino, config.seed, mesh)
    start = time.perf_counter()
    lowered = make_train_step(dino, config, mesh).lower(state, abstract_samples(config, mesh))
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        amounts = too_large(str(error))
        if amounts is None:
            raise
        needs, available = amounts
        seconds = time.perf_counter() - start
        return Compiled(mesh=mesh, state=state, seconds=seconds, needs=needs, available=available)
    seconds = time.perf_counter() - start
    stats = compiled.memory_analysis()
    memory = Memory(
        arguments=stats.argument_size_in_bytes,
        results=stats.output_size_in_bytes - stats.alias_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        code=stats.generated_code_size_in_bytes,
    )
    return Compiled(
        mesh=mesh,
        state=state,
        seconds=seconds,
        memory=memory,
        program=read_program(compiled.as_text()),
        needs=memory.peak,
    )


def too_large(message: str) -> tuple[int, int] | None:
    """(bytes needed, bytes available) if XLA refused for lack of memory; None for other errors."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    for pattern in _TOO_LARGE:
        if found := re.search(pattern, message):
            needs, unit, available, other = found.groups()
            return int(float(needs) * UNITS[unit]), int(float(available) * UNITS[other])
    return None


def state_bytes(state: dict) -> dict[str, int]:
    """Bytes of the state on one chip, by part: {"student", "teacher", "moments", "rest"}."""
    parts = {"student": "student", "teacher": "teacher", "optimizer": "moments"}
    sums = dict.fromkeys((*parts.values(), "rest"), 0)
    for name, part in state.items():
        for x in jax.tree.leaves(part):
            local = math.prod(x.sharding.shard_shape(x.shape))
            sums[parts.get(name, "rest")] += local * x.dtype.itemsize
    return sums


def parameter_sizes(state: dict) -> frozenset[int]:
    """Element counts of the student's arrays, and of one layer of each: as a chip holds them, and
    with any of the mesh axes gathered."""
    sizes = set()
    for path, x in jax.tree_util.tree_leaves_with_path(state["student"]):
        layers = x.shape[0] if "blocks" in jax.tree_util.keystr(path) else 1
        splits = [x.sharding.mesh.shape[axis] for axis in x.sharding.spec if axis]
        for count in range(len(splits) + 1):
            for chosen in itertools.combinations(splits, count):
                local = x.size // math.prod(chosen)
                sizes |= {local, local // layers}
    return frozenset(sizes)
