"""A training step counted by hand, for hardware that nothing can be compiled for.

Memory is `models.memory.training_bytes`. The traffic between devices and to memory is counted here.
`docs/gpus.md` says how far all of them are from what compilers count."""

import jax
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options, make_dino, make_mesh, step_bytes
from rats_jax.errors import UserError
from rats_jax.models.memory import FLOAT32, kept_of_crop
from rats_jax.parallel.mesh import batch_shards
from rats_jax.planning.collectives import Traffic
from rats_jax.planning.compiled import Compiled, state_bytes
from rats_jax.planning.topology import Hardware
from rats_jax.runs.programs import abstract_state
from rats_jax.validation import validate

#: How long a step takes in multiples of its bound. An assumption: no GPU was available to measure.
REALISTIC = (2.0, 4.0)
#: How often the arrays of a block pass through memory, in multiples of what it keeps with
#: remat=none: each is written and read in a forward pass. The backward pass reads them, and writes
#: and reads as many gradients.
FORWARD, BACKWARD = 2, 3
#: How often the parameters do, as float32 arrays, in an update: clipping reads the gradients, and
#: AdamW and the teacher's average read five trees and write four.
UPDATE = 10
#: How often the student's logits do, from the head to the gradient of the head.
LOGITS = 7
#: How often float32 crops do in the photometric augmentation.
CROPS = 30
#: How often kernels are gathered over fsdp: by the teacher, and for both sizes of crops by the
#: student's forward and backward pass; once more for each if blocks are recomputed.
GATHERS = {"none": 5, "dots": 7, "full": 7}


def count_step(config: ConfigDict, hardware: Hardware) -> Compiled:
    """Counts the step. Raises UserError for a config that is not valid on this hardware, or that
    splits heads, which is not counted by hand."""
    validate(config)
    mesh = make_mesh(config, hardware.devices)
    if mesh.shape["tensor"] > 1:
        raise UserError(
            f"config.mesh.tensor is {mesh.shape['tensor']}, and plans of GPUs are counted by hand "
            "for 1 only: use config.mesh.fsdp, or plan with --topology=cpu:N, which compiles"
        )
    images = config.data.length or 1000 * config.optimizer.batch_size
    state = abstract_state(make_dino(config, images=images), config.seed, mesh)
    counted = step_bytes(config, mesh)
    # The parts of the state as they are split: a few arrays are not.
    exact = sum(state_bytes(state).values())
    counted = counted._replace(state=exact, peak=counted.peak - counted.state + exact)
    return Compiled(mesh=mesh, state=state, seconds=0.0, counted=counted, needs=counted.peak)


def traffic_by_hand(config: ConfigDict, step: Compiled) -> list[Traffic]:
    """What devices send each other, by ring algorithms: gradients are summed over the devices once
    for each part of the batch. With fsdp, kernels are gathered for each use, in the compute dtype,
    and gradients of both sizes of crops are scattered."""
    data, fsdp = step.mesh.shape["data"], step.mesh.shape["fsdp"]
    parts, size = config.optimizer.accumulation, jax.numpy.dtype(config.compute_dtype).itemsize
    parameters = _parameters(step)
    gradients = FLOAT32 * parameters
    name = {2: "bf16", 4: "f32"}[size]
    rows = []

    def add(kind: str, dtype: str, axis: str, origin: str, count: int, total: float, rounds: int):
        devices = step.mesh.shape[axis]
        sent = total * rounds * (devices - 1) / devices
        rows.append(Traffic(kind, dtype, (axis,), origin, count, int(total), sent))

    if fsdp > 1:
        count = parts * GATHERS[config.model.remat]
        gathered = count * size * parameters
        add("all-gather", name, "fsdp", "kernels", count, gathered, 1)
        add("reduce-scatter", "f32", "fsdp", "gradients", 2 * parts, 2 * parts * gradients, 1)
    if data > 1:
        add("all-reduce", "f32", "data", "gradients", parts, parts * gradients / fsdp, 2)
    return sorted(rows, key=lambda row: -row.bytes)


def memory_traffic(config: ConfigDict, step: Compiled) -> int:
    """Bytes that a device moves to and from its memory in a step, without what caches save."""
    options, remat, crops = backbone_options(config), config.model.remat, config.crops
    size = jax.numpy.dtype(config.compute_dtype).itemsize
    images = config.optimizer.batch_size // batch_shards(step.mesh)
    parameters, parts = FLOAT32 * _parameters(step), config.optimizer.accumulation
    moved = UPDATE * parameters / step.mesh.shape["fsdp"]
    # Teacher, student and both gradients read kernels, and a float32 sum is read and written.
    moved += parts * parameters * (4 * size / FLOAT32 + 2)
    sizes = ((crops.global_size, 2, FORWARD), (crops.local_size, crops.local_crops, 0))
    for pixels, count, teacher in sizes:
        whole = kept_of_crop(options, pixels=pixels, remat="none", size=size)
        again = whole - kept_of_crop(options, pixels=pixels, remat=remat, size=size)
        of_crop = (FORWARD + BACKWARD + teacher) * whole + FORWARD * again
        moved += images * count * (of_crop + CROPS * FLOAT32 * 3 * pixels**2)
    losses = config.model.heads if config.dino.loss_scope == "head" else 1
    logits = FLOAT32 * losses * config.head.prototypes * (2 + crops.local_crops)
    # Distances to the entries of a learned dictionary, which are passed over as the logits are.
    distances = FLOAT32 * config.dictionary.entries * 2 * options.registers
    return int(moved + LOGITS * images * (logits + distances))


def _parameters(step: Compiled) -> int:
    return sum(x.size for x in jax.tree.leaves(step.state["student"]))
