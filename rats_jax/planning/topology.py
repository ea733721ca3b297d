"""The hardware to plan for: machines that need not be available, simulated or local devices.
JAX must not have used a device before `open_hardware`."""

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.planning.hardware import GPUS, TPUS, Chip, chip_of_kind
from rats_jax.quiet_libtpu import SETTINGS, quiet_libtpu

#: The slices that Google Cloud offers for two-dimensional TPUs. For three-dimensional TPUs these
#: are `SMALL`, and any whose sides are all multiples of 4, the shortest first.
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
SMALL = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")
KNOWN = (
    f"v5e:RxC and v6e:RxC ({', '.join(FLAT)}), v4:XxYxZ and v5p:XxYxZ "
    f"({', '.join(SMALL)}, 4x4x4 or more by fours), cpu:N, and GPUs by hand, as NAME, NAME:GPUS or "
    f"NAME:NODESxGPUS: {', '.join(chip.name for chip in GPUS)}"
)

#: At most so many GPUs in a node, and in total.
GPUS_OF_NODE, GPUS_IN_TOTAL = 16, 1024
#: The part of a GPU's memory that JAX takes if no setting says otherwise.
FRACTION = 0.75
#: What sets it, the newer name first.
FRACTION_SETTINGS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
#: The part of that memory which a count by hand leaves free.
RESERVE = 0.05

#: Settings with which libtpu compiles without a TPU: no machine queries, no lock, few messages.
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """devices: JAX devices of all slices; simulated ones for GPUs that are not available. hosts:
    number of machines (TPU VMs, nodes), which share the devices. links: from a chip to its
    neighbours; for a chip in a corner if an axis is no ring. by_hand: nothing can be compiled for
    it. fraction: the part of a GPU's memory that JAX takes; None for other hardware."""

    description: str
    devices: tuple[Any, ...]
    chip: Chip | None
    slices: int
    hosts: int
    links: int
    by_hand: bool = False
    fraction: float | None = None

    @property
    def memory(self) -> int | None:
        """Bytes that a program may use on each device; None if not known."""
        if self.fraction and self.chip and self.chip.total:
            return int(self.chip.total * self.fraction * (1 - RESERVE))
        if self.chip and self.chip.memory:
            return self.chip.memory
        if self.devices[0].platform == "cpu":
            return None
        return (self.devices[0].memory_stats() or {}).get("bytes_limit")


def open_hardware(topology: str, *, slices: int = 1) -> Hardware:
    """The hardware that `topology` names, such as "v5e:16x16" or "cpu:8"; "" for local devices.

    Raises UserError if it is unknown, or if it needs libtpu and that is not installed.
    """
    name, _, shape = topology.partition(":")
    gpu = next((chip for chip in GPUS if chip.name == name), None)
    if slices != 1 and gpu:
        raise UserError(
            f"--slices={slices} is for TPUs; nodes of GPUs are part of the topology, such as "
            f"--topology={name}:{slices}x8"
        )
    if slices != 1 and name not in {chip.name for chip in TPUS}:
        raise UserError(f"--slices={slices} is for TPUs: give --topology too, such as v5e:16x16")
    if not topology:
        return _local()
    if name == "cpu" and re.fullmatch("[1-9][0-9]*", shape):
        return _simulated(int(shape))
    if gpu and (nodes := _nodes(shape)):
        return _gpus(gpu, *nodes)
    chip = next((chip for chip in TPUS if chip.name == name), None)
    if chip is None or not _offered(chip, shape):
        raise UserError(f"unknown --topology={topology}; known are {KNOWN}")
    return _absent(chip, shape, slices)


def _local() -> Hardware:
    import jax

    quiet_libtpu()
    devices = jax.devices()
    chip = chip_of_kind(devices[0].device_kind)
    sides = {getattr(device, "coords", None) for device in devices} - {None}
    shape = [max(side) + 1 for side in zip(*sides, strict=True)]
    return Hardware(
        description=f"{counted(len(devices), f'{devices[0].device_kind} device')} of this machine",
        devices=tuple(devices),
        chip=chip,
        slices=1,
        hosts=jax.process_count(),
        links=_links(chip, shape) if chip and shape else 1,
    )


def _simulated(count: int) -> Hardware:
    import jax

    flag = f"--xla_force_host_platform_device_count={count}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    jax.config.update("jax_platforms", "cpu")
    devices = jax.devices()[:count]
    return Hardware(
        description=counted(count, "simulated CPU device"),
        devices=tuple(devices),
        chip=None,
        slices=1,
        hosts=1,
        links=1,
    )


def _gpus(chip: Chip, nodes: int, each: int) -> Hardware:
    fraction = memory_fraction()
    devices = _simulated(nodes * each).devices
    count = f"{nodes} nodes of {each}" if nodes > 1 else f"{each}"
    return Hardware(
        description=f"{count} NVIDIA {chip.title}",
        devices=devices,
        chip=chip,
        slices=nodes,
        hosts=nodes,
        links=1,
        by_hand=True,
        fraction=fraction,
    )


def _nodes(shape: str) -> tuple[int, int] | None:
    """(nodes, GPUs of each) of "", "8" or "4x8"; None for others."""
    found = re.fullmatch(r"(?:(?:([1-9]\d{0,3})x)?([1-9]\d?))?", shape)
    if not found:
        return None
    nodes, each = int(found[1] or 1), int(found[2] or 1)
    return (nodes, each) if each <= GPUS_OF_NODE and nodes * each <= GPUS_IN_TOTAL else None


def memory_fraction() -> float:
    """The part of a GPU's memory that JAX takes, by the environment.

    Raises UserError if the environment gives no such number."""
    for name in FRACTION_SETTINGS:
        if value := os.environ.get(name):
            try:
                fraction = float(value)
            except ValueError:
                fraction = 0.0
            if not 0 < fraction <= 1:
                raise UserError(f"{name}={value} is not a part of 1: give a number such as 0.9")
            return fraction
    return FRACTION


def _absent(chip: Chip, shape: str, slices: int) -> Hardware:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology={chip.name}:{shape} needs libtpu, the TPU's compiler, which runs without "
            "a TPU: pip install -r requirements-tpu.txt"
        )
    os.environ.update(QUIET | SETTINGS)
    import jax
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    sides = [int(side) for side in shape.split("x")]
    options = {"num_slices": slices} if slices > 1 else {}
    if shape in ("1x1", "2x4"):  # one machine; larger slices have machines of 4 chips each
        options["chips_per_host_bounds"] = [*sides, 1]
    if chip.name == "v4":  # two cores are one device, as in Google Cloud
        options["chip_config_name"] = "megacore"
    try:
        devices = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{chip.name}:{shape}", **options
        ).devices
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"libtpu cannot compile for --topology={chip.name}:{shape} ({reason}); update it: "
            "pip install --upgrade -r requirements-tpu.txt"
        ) from None
    return Hardware(
        description=f"{chip.name}:{shape}" + (f", {slices} slices" if slices > 1 else ""),
        devices=tuple(devices),
        chip=chip,
        slices=slices,
        hosts=len({device.process_index for device in devices}),
        links=_links(chip, sides),
    )


def _offered(chip: Chip, shape: str) -> bool:
    if chip.name in ("v5e", "v6e"):
        return shape in FLAT
    if shape in SMALL:
        return True
    if not re.fullmatch(r"\d{1,2}x\d{1,2}x\d{1,2}", shape):
        return False
    sides = [int(side) for side in shape.split("x")]
    return sides == sorted(sides) and all(side and side % 4 == 0 for side in sides)


def _links(chip: Chip, sides: list[int]) -> int:
    """The links of a chip in a corner: two for each axis that is a ring, one for an open axis."""
    longer = [side for side in sides if side > 1]
    return sum(2 if chip.wraps and side % chip.wraps == 0 else 1 for side in longer) or 1
