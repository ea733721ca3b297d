"""Joins several processes that train together."""

import ctypes
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from rats_jax import command_line, errors, voice
from rats_jax.device_failures import TRAIN_SMALLER, explained
from rats_jax.errors import Stopped, UserError
from rats_jax.parallel import cluster
from rats_jax.parallel.gloo_lines import drop_gloo_lines
from rats_jax.parallel.link import Link
from rats_jax.parallel.rendezvous import Missing, meet
from rats_jax.quiet_libtpu import quiet_libtpu

FAILED = 1  # exit status of a program error, as in Python

_link: Link | None = None


def gather(value=None) -> list:
    """Waits until all processes have called it, and returns the values of all (any JSON values).

    Does not use a collective: on CPUs these fail if a process arrives half a minute late.
    """
    if _link:
        return _link.gather(value)
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)  # processes joined by JAX itself
    sizes = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.pad(text, (0, sizes.max() - len(text)))
    texts = multihost_utils.process_allgather(padded)
    return [json.loads(t[:size].tobytes()) for t, size in zip(texts, sizes, strict=True)]


def agree(value=None):
    """Waits until all processes have called it, and returns the JSON value of process 0."""
    return gather(value)[0]


def link() -> Link | None:
    """The link to the other processes, if `joined` has made one."""
    return _link


@contextmanager
def joined(
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    local_devices: list[str] | None = None,
    wait: float = 300,
    out_of_memory: str = TRAIN_SMALLER,
) -> Iterator[None]:
    """Joins the other processes of the run until the block ends. Enter it before JAX uses a device.

    Automatic on TPU pods, on SLURM and for TPUs on GKE; elsewhere the arguments are required. They
    are the flags of `rats_jax.train`. A single process runs unchanged. Each process sees the
    devices of all; only process 0 prints (`voice.say`).

    All processes end together. If one ends with an exception, the others end with its exit status
    and one line. If a process is killed, the others end with exit status 75 within a second; if its
    machine is lost, within a minute. A block that ends without an error waits for the others.

    Args:
      coordinator: HOST:PORT of process 0. JAX's own service uses another free port there.
      processes: the number of processes.
      process: the number of this process.
      local_devices: the numbers of the GPUs to use; by default the share of the SLURM task, or all.
      wait: seconds within which all processes must have joined.
      out_of_memory: what the user can change if the devices have too little memory.

    Raises UserError for arguments that do not fit. Exits with status 75 if a process does not join.
    """
    place = cluster.find_place(
        os.environ,
        coordinator=coordinator,
        processes=processes,
        process=process,
        metadata=cluster.gce_metadata if cluster.on_tpu_vm() else None,
        gpus=cluster.visible_gpus(),
    )
    quiet_libtpu()
    if local_devices:
        if not all(number.isdecimal() for number in local_devices):
            raise UserError(
                f"--local_devices={','.join(local_devices)}: must be numbers such as 0,1"
            )
        place = place._replace(devices=tuple(map(int, local_devices)))
    if place.processes == 1:
        if place.devices:
            jax.config.update("jax_cuda_visible_devices", ",".join(map(str, place.devices)))
        yield
        return

    voice.speak_as(place.process)
    about = socket.gethostname()
    if place.devices:
        about += f" GPU {','.join(map(str, place.devices))}"
    try:
        peers, service = meet(place, about=about, wait=wait)
    except Missing as error:
        command_line.fail(str(error), errors.LOST)
    global _link
    _link = Link(place.process, peers)
    _let_the_link_speak_first()
    stopped = None
    with _end_the_others(_link, place.process), explained(out_of_memory):
        _initialize(place, service, wait)
        if jax.default_backend() == "cpu":
            drop_gloo_lines()
        places = [about, *(peers[i].about for i in sorted(peers))]
        more = ", ..." if len(places) > 8 else ""
        voice.say(f"{place.processes} processes: {', '.join(places[:8])}{more}")
        try:
            yield
        except Stopped as end:  # as in all other processes
            stopped = end
        _link.finish()
        jax.distributed.shutdown()
    if stopped:
        raise stopped


def _initialize(place: cluster.Place, service: str, wait: float) -> None:
    # It would catch SIGTERM and only record it, and print a message when process 0 is lost.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            service,
            place.processes,
            place.process,
            local_device_ids=place.devices,
            cluster_detection_method="deactivate",  # would take one GPU for each SLURM task
            initialization_timeout=int(wait),
        )
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"the coordination service of JAX cannot be reached at {service} "
            f"({str(error).splitlines()[0]}): check whether a firewall blocks it"
        ) from None


def _let_the_link_speak_first() -> None:
    """Delays JAX's abort after the loss of process 0 by 6 s, the number of SIGABRT, which is the
    argument of `sleep`. Meanwhile the link ends the process with one line and its exit status.

    Without this the link was faster in 24 of 24 tries while the main thread waited in JAX or ran
    Python, but only in 7 of 8 during calls that hold the interpreter for 0.1 s, and in 0 of 3 for
    2 s; otherwise the process ended with a page of stacks. A Python handler is not enough, since
    the abort continues when it returns; `jax_enable_recoverability` ends in an abort as well.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


@contextmanager
def _end_the_others(link: Link, process: int) -> Iterator[None]:
    """Ends the other processes if the block raises an exception."""
    try:
        yield
    except UserError as error:
        link.end_others(errors.FAILED, f"process {process}: {error}")
        raise
    except KeyboardInterrupt:
        link.end_others(errors.INTERRUPTED, f"process {process} was interrupted")
        raise
    except BaseException as error:
        # Collectives may fail shortly before a lost process is detected, which is reported instead.
        time.sleep(2)
        link.end_others(FAILED, f"process {process} failed: {type(error).__name__}; see its output")
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(FAILED)  # a normal exit would wait for the others
