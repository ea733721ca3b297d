"""Determines which of several processes this is, from flags, a TPU pod, SLURM or Kubernetes.

JAX can determine this itself, but takes one GPU per SLURM task however many there are, needs the
Kubernetes API, and does not report which process is missing. This module reads what launchers set.
"""

import importlib.util
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

from rats_jax.errors import UserError

TPU_PORT = 8482  # as in JAX
SLURM_PORTS = range(61440, 65536)  # above the ephemeral ports of Linux


class Place(NamedTuple):
    """A process among those of a run.

    `coordinator` is the HOST:PORT where process 0 listens, empty for a single process; `devices`
    are the accelerators of this machine to use, None for all.
    """

    coordinator: str = ""
    processes: int = 1
    process: int = 0
    devices: tuple[int, ...] | None = None


def find_place(
    environ: Mapping[str, str],
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    metadata: Callable[[str], str | None] | None = None,
    gpus: int = 0,
) -> Place:
    """The place according to the flags if any are given, else to the environment.

    Args:
      environ: environment variables.
      coordinator, processes, process: the flags, None if not given.
      metadata: reads the metadata of a TPU VM on GCE, see `gce_metadata`; None elsewhere.
      gpus: the number of GPUs that this process sees.

    Raises UserError for flags or an environment that do not determine one place.
    """
    if (coordinator, processes, process) != (None, None, None):
        return _by_flags(coordinator, processes, process, environ.get("JOB_COMPLETION_INDEX"))
    addresses = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES")
    if addresses and not environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        hosts = [host.rsplit(":", 1)[0] for host in addresses.split(",")]
        return _in_slices(environ, hosts, environ.get("TPU_WORKER_ID", "0"), environ.get)
    if metadata and (worker := metadata("agent-worker-number")) is not None:
        # An endpoint is either a name or name:id:address.
        endpoints = (metadata("worker-network-endpoints") or "").split(",")
        hosts = [endpoint.rsplit(":", 1)[-1] for endpoint in endpoints]
        lines = metadata("tpu-env") or ""  # as NAME: 'value'
        settings = dict(re.findall(r"^\s*(\w+)\s*:\s*'?(.*?)'?\s*$", lines, re.MULTILINE))
        return _in_slices(environ, hosts, worker, {**settings, **environ}.get)
    # A batch script or a shell of salloc is not a step of several tasks, whatever SLURM_NTASKS is.
    if int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environ:
        return _in_slurm(environ, gpus)
    if int(environ.get("JOB_COMPLETION_INDEX", 0)) > 0:
        raise UserError(
            f"this is pod {environ['JOB_COMPLETION_INDEX']} of an Indexed Job: give all its pods "
            "--coordinator=HOST:PORT and --processes=N"
        )
    return Place()


def _by_flags(coordinator, processes, process, job_index) -> Place:
    if processes == 1 and coordinator is None and process in (None, 0):
        return Place()
    if process is None and job_index is not None:
        process = int(job_index)
    flags = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if missing := [name for name, value in flags.items() if value is None]:
        raise UserError(
            f"{' and '.join(missing)} missing: processes that are started manually need "
            "--coordinator=HOST:PORT, --processes=N and --process=I"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(
            f"--coordinator={coordinator}: must be HOST:PORT, where process 0 runs and any port "
            "that is free there"
        )
    if processes < 1 or not 0 <= process < processes:
        raise UserError(
            f"--process={process} of --processes={processes}: processes are numbered from 0 to N "
            "- 1"
        )
    return Place(coordinator, processes, process) if processes > 1 else Place()


def _in_slices(environ, hosts: list[str], worker: str, slices: Callable) -> Place:
    """One process for each host of a TPU slice, or of several."""
    count, number = int(slices("MEGASCALE_NUM_SLICES") or 1), int(slices("MEGASCALE_SLICE_ID") or 0)
    if count * len(hosts) == 1:
        return Place()
    first = (slices("MEGASCALE_COORDINATOR_ADDRESS") if count > 1 else None) or hosts[0]
    return Place(
        f"{first.split(':')[0]}:{environ.get('JAX_COORDINATOR_PORT', TPU_PORT)}",
        count * len(hosts),
        number * len(hosts) + int(worker),
    )


def _in_slurm(environ, gpus: int) -> Place:
    nodes = re.match(r"(?:[^,\[]|\[[^\]]*\])+", environ["SLURM_STEP_NODELIST"])
    assert nodes  # SLURM names one node at least
    first = re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes[0])  # n[07-09,12] -> n07
    # The port depends on job and step, since two of them may share a node.
    number = int(environ["SLURM_JOB_ID"]) + 1009 * int(environ.get("SLURM_STEP_ID", 0))
    port = environ.get("JAX_COORDINATOR_PORT", SLURM_PORTS[number % len(SLURM_PORTS)])
    return Place(
        f"{first}:{port}",
        int(environ["SLURM_STEP_NUM_TASKS"]),
        int(environ["SLURM_PROCID"]),
        _slurm_gpus(environ, gpus),
    )


def _slurm_gpus(environ, visible: int) -> tuple[int, ...] | None:
    """The GPUs of this task: all visible ones (None), or its share if tasks see the same ones."""
    # 8(x2),4: two nodes of eight tasks, one of four.
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    tasks = list(chain(*(repeat(int(n), int(times or 1)) for n, times in groups)))
    here = tasks[int(environ.get("SLURM_NODEID", 0))]
    # With --gpus-per-task or --gpu-bind a task sees only its own GPUs, fewer than the node has. If
    # SLURM does not set that number, a single visible GPU counts as its own.
    bound = visible < int(environ.get("SLURM_GPUS_ON_NODE", 2))
    if visible == 0 or here == 1 or bound:
        return None
    if visible % here:
        raise UserError(
            f"{here} tasks share {visible} GPUs on a node: start one task per GPU, as with "
            f"--ntasks-per-node={visible}, or one task per node"
        )
    each, local = visible // here, int(environ["SLURM_LOCALID"])
    return tuple(range(local * each, (local + 1) * each))


def visible_gpus(environ: Mapping[str, str] = os.environ) -> int:
    """The number of NVIDIA GPUs that this process sees, without loading a driver."""
    if environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return 0
    if (visible := environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in visible.split(",") if name and name != "NoDevFiles"])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def on_tpu_vm() -> bool:
    """Whether this is a machine with TPUs on GCE. Call after `import jax`."""
    # Importing jax sets the variable if there is no TPU on the bus; GKE sets it in its pods.
    return (
        "TPU_SKIP_MDS_QUERY" not in os.environ
        and not os.environ.get("JAX_PLATFORMS", "").startswith("cpu")
        and importlib.util.find_spec("libtpu") is not None
    )


def gce_metadata(key: str) -> str | None:
    """An attribute of this machine from the metadata server; None if there is no such server or
    attribute. Raises UserError if the server does not answer."""
    host = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/attributes/{key}",
        headers={"Metadata-Flavor": "Google"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for attempt in range(3):
        try:
            with direct.open(request, timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            reason = f"{error.code} {error.reason}"
        except OSError as error:
            cause = getattr(error, "reason", error)
            if not isinstance(cause, TimeoutError):  # an unknown name: not on GCE
                return None
            reason = str(cause)
        time.sleep(attempt)
    raise UserError(
        f"the metadata server of this TPU VM does not answer ({reason}): try again, or "
        "set --processes=1 to run on this host alone"
    )
