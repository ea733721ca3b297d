"""The hardware that is planned for: machines that need not be there, fake devices, or those at
hand. JAX must not have touched a device before `open_hardware`."""

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

from rats_jax.errors import UserError
from rats_jax.planning.hardware import TPUS, Chip, chip_of_kind
from rats_jax.quiet_libtpu import SETTINGS, quiet_libtpu

#: The slices of two-dimensional TPUs that Cloud lends. Those of three dimensions: `SMALL`, or all
#: sides multiples of 4, the shortest first.
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
SMALL = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")
KNOWN = (
    f"v5e:RxC and v6e:RxC ({', '.join(FLAT)}), v4:XxYxZ and v5p:XxYxZ "
    f"({', '.join(SMALL)}, 4x4x4 or more by fours), cpu:N"
)

#: What libtpu needs to compile without a TPU: no queries of the machine, no lock, no chatter.
QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """devices: JAX's, of all slices. hosts: machines (TPU VMs), each with its share of them.
    links: of a chip to its neighbours; in a corner, where an axis is not closed to a ring."""

    description: str
    devices: tuple[Any, ...]
    chip: Chip | None
    slices: int
    hosts: int
    links: int

    @property
    def memory(self) -> int | None:
        """Bytes that a program may take on each device; None where there is no telling."""
        if self.chip and self.chip.memory:
            return self.chip.memory
        if self.devices[0].platform == "cpu":
            return None
        return (self.devices[0].memory_stats() or {}).get("bytes_limit")


def open_hardware(topology: str, *, slices: int = 1) -> Hardware:
    """What `topology` names: "v5e:16x16" and the like, "cpu:8", or "" for the devices at hand.

    Raises UserError for an unknown one, and where libtpu is missing.
    """
    name, _, shape = topology.partition(":")
    if slices != 1 and name not in {chip.name for chip in TPUS}:
        raise UserError(f"--slices={slices} is for TPUs: give --topology too, such as v5e:16x16")
    if not topology:
        return _at_hand()
    if name == "cpu" and re.fullmatch("[1-9][0-9]*", shape):
        return _fake(int(shape))
    chip = next((chip for chip in TPUS if chip.name == name), None)
    if chip is None or not _lent(chip, shape):
        raise UserError(f"unknown --topology={topology}; known are {KNOWN}")
    return _absent(chip, shape, slices)


def _at_hand() -> Hardware:
    import jax

    quiet_libtpu()
    devices = jax.devices()
    chip = chip_of_kind(devices[0].device_kind)
    sides = {getattr(device, "coords", None) for device in devices} - {None}
    shape = [max(side) + 1 for side in zip(*sides, strict=True)]
    return Hardware(
        description=f"{len(devices)} {devices[0].device_kind} device(s) at hand",
        devices=tuple(devices),
        chip=chip,
        slices=1,
        hosts=jax.process_count(),
        links=_links(chip, shape) if chip and shape else 1,
    )


def _fake(count: int) -> Hardware:
    import jax

    flag = f"--xla_force_host_platform_device_count={count}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    jax.config.update("jax_platforms", "cpu")
    devices = jax.devices()[:count]
    return Hardware(
        description=f"{count} fake CPU device(s)",
        devices=tuple(devices),
        chip=None,
        slices=1,
        hosts=1,
        links=1,
    )


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
    if shape in ("1x1", "2x4"):  # one machine; larger ones are of 4 chips each
        options["chips_per_host_bounds"] = [*sides, 1]
    if chip.name == "v4":  # two cores as one device, as in Cloud
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


def _lent(chip: Chip, shape: str) -> bool:
    if chip.name in ("v5e", "v6e"):
        return shape in FLAT
    if shape in SMALL:
        return True
    if not re.fullmatch(r"\d{1,2}x\d{1,2}x\d{1,2}", shape):
        return False
    sides = [int(side) for side in shape.split("x")]
    return sides == sorted(sides) and all(side and side % 4 == 0 for side in sides)


def _links(chip: Chip, sides: list[int]) -> int:
    """A corner chip's: two on an axis closed to a ring, one on an open one."""
    longer = [side for side in sides if side > 1]
    return sum(2 if chip.wraps and side % chip.wraps == 0 else 1 for side in longer) or 1
