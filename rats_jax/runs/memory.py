"""The memory of this machine's devices."""

import resource
from pathlib import Path

import jax

from rats_jax.errors import UserError
from rats_jax.parallel.distributed import gather

#: Of a limited address space: what threads and the compiler reserve beside the arrays.
RESERVED = 3 * 2**29
#: Of a limited address space: what must be left before JAX starts.
LEAST = 2**30


def least_memory() -> int | None:
    """Bytes that a program may use on the smallest device of all processes; None if not known.

    CPU devices share what is free of the machine's memory, and of the limits of their process.
    """
    return min((memory for memory in gather(_device_memory()) if memory is not None), default=None)


def check_address_space() -> None:
    """Raises UserError if `ulimit -v` leaves too little for JAX to start: its libraries would abort
    without a message."""
    if address_space_is_limited() and (left := _address_space() or 0) < LEAST:
        raise UserError(
            f"ulimit -v leaves {left / 2**30:.1f} GiB of address space, and JAX takes at least "
            f"{LEAST / 2**30:.0f} GiB for threads and compiling: raise it, or remove it with "
            "ulimit -v unlimited"
        )


def address_space_is_limited() -> bool:
    """Whether `ulimit -v` is set."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _device_memory() -> int | None:
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        free = _free_memory()
        return None if free is None else free // len(devices)
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    return min((limit for limit in limits if limit), default=None)


def _free_memory() -> int | None:
    """The least of the machine's free memory, what a container may still use, and what is left of
    `ulimit -v`."""
    space = _address_space()
    known = (_available(), _container(), None if space is None else max(space - RESERVED, 0))
    return min((free for free in known if free is not None), default=None)


def _available() -> int | None:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _container(root: str = "/sys/fs/cgroup") -> int | None:
    """Of cgroup v2, and of v1."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _read(f"{root}/{limit}").strip(), _read(f"{root}/{used}").strip()
        if most.isdigit() and now.isdigit():
            return max(int(most) - int(now), 0)
    return None


def _address_space() -> int | None:
    if not address_space_is_limited():
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _read("/proc/self/statm").split()
    return max(limit - int(used[0]) * resource.getpagesize(), 0) if used else limit


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
