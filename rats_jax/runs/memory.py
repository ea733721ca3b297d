"""The memory of this machine's devices."""

import re
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


def _container(root: str = "/sys/fs/cgroup", groups: str = "/proc/self/cgroup") -> int | None:
    """What the control groups of this process, and those around them, leave; None without limits.

    Of cgroup v2 ("0::PATH" in `groups`) and v1 ("4:memory:PATH"). In a container the path may be
    that of the host, and then only the root is there.
    """
    left = []
    for line in _read(groups).splitlines():
        _, kinds, path = line.split(":", 2)
        if not kinds:
            names = ("memory.max", "memory.current", "inactive_file")
            top = Path(root)
        elif "memory" in kinds.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            top = Path(root, "memory")
        else:
            continue
        group = top / path.strip("/")
        left += [
            _left(folder, *names)
            for folder in (group, *group.parents)
            if folder.is_relative_to(top)
        ]
    return min((free for free in left if free is not None), default=None)


def _left(group: Path, limit: str, used: str, cache: str) -> int | None:
    """The kernel counts the page cache as used, and frees it before it refuses memory."""
    most, now = _read(group / limit).strip(), _read(group / used).strip()
    if not (most.isdigit() and now.isdigit()):
        return None
    of_cache = re.search(rf"^{cache} (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
    return max(int(most) - int(now) + (int(of_cache[1]) if of_cache else 0), 0)


def _address_space() -> int | None:
    if not address_space_is_limited():
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _read("/proc/self/statm").split()
    return max(limit - int(used[0]) * resource.getpagesize(), 0) if used else limit


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
