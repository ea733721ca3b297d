"""This process as one of several that train together."""

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

FAILED = 1  # exit status of an error of the program, as Python's

_link: Link | None = None


def gather(value=None) -> list:
    """Returns when all processes have come here, with the values of all (anything of JSON).

    Not by a collective: those of CPUs fail when a process comes half a minute after the first.
    """
    if _link:
        return _link.gather(value)
    if jax.process_count() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)  # joined by JAX alone
    sizes = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.pad(text, (0, sizes.max() - len(text)))
    texts = multihost_utils.process_allgather(padded)
    return [json.loads(t[:size].tobytes()) for t, size in zip(texts, sizes, strict=True)]


def agree(value=None):
    """Returns when all processes have come here, with the value (anything of JSON) of process 0."""
    return gather(value)[0]


def link() -> Link | None:
    """To the other processes, where `joined` has made one."""
    return _link


@contextmanager
def joined(
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    local_devices: list[str] | None = None,
    wait: float = 300,
) -> Iterator[None]:
    """Joins the other processes of the run, before JAX has touched a device, until the block ends.

    Automatic on TPU pods and SLURM, and for the TPUs of GKE; elsewhere by the arguments, which are
    the flags of `rats_jax.train`. A process that is alone runs as it is. Each process sees the
    devices of all; only process 0 says anything (`voice.say`).

    All processes end together. One that ends by an exception ends the others, with its exit status
    and a line; when one is lost, killed or with its machine, the others end with exit status 75
    within a second, or within a minute of its silence. A block that ends well waits for the others.

    Args:
      coordinator: HOST:PORT of process 0. JAX's own service takes another port that is free there.
      processes: how many there are.
      process: the number of this one.
      local_devices: the numbers of the GPUs to take; by default the share of a task of SLURM, or
        all.
      wait: seconds within which all processes must have come.

    Raises UserError for arguments that do not fit. Exits with status 75 if not all come.
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
    with _end_the_others(_link, place.process), explained(TRAIN_SMALLER):
        _initialize(place, service, wait)
        if jax.default_backend() == "cpu":
            drop_gloo_lines()
        places = [about, *(peers[i].about for i in sorted(peers))]
        more = ", ..." if len(places) > 8 else ""
        voice.say(f"{place.processes} processes: {', '.join(places[:8])}{more}")
        try:
            yield
        except Stopped as end:  # as in all the others
            stopped = end
        _link.finish()
        jax.distributed.shutdown()
    if stopped:
        raise stopped


def _initialize(place: cluster.Place, service: str, wait: float) -> None:
    # It would take SIGTERM, and only note it; and report that it ends when process 0 is lost.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            service,
            place.processes,
            place.process,
            local_device_ids=place.devices,
            cluster_detection_method="deactivate",  # would take one GPU for each task of SLURM
            initialization_timeout=int(wait),
        )
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"the coordination service of JAX cannot be reached at {service} "
            f"({str(error).splitlines()[0]}): see whether a firewall lies between"
        ) from None


def _let_the_link_speak_first() -> None:
    """Holds up JAX's abort of a process whose process 0 is gone: for 6 s, the number of its signal,
    in which the link ends the process with one line and its exit status.

    Without this the link was faster in 24 of 24 tries while the main thread waited in JAX or ran
    Python, but only in 7 of 8 while it was in calls that hold the interpreter for 0.1 s, and in 0
    of 3 for 2 s: then a page of stacks was the end. A handler in Python would not do, since the
    abort goes on when a handler returns; `jax_enable_recoverability` ends in an abort as well.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


@contextmanager
def _end_the_others(link: Link, process: int) -> Iterator[None]:
    """An exception in the block ends the other processes."""
    try:
        yield
    except UserError as error:
        link.tell(errors.FAILED, f"process {process}: {error}")
        raise
    except KeyboardInterrupt:
        link.tell(errors.INTERRUPTED, f"process {process} was interrupted")
        raise
    except BaseException as error:
        # Collectives may fail a moment before it is known that a process is lost, which says more.
        time.sleep(2)
        link.tell(FAILED, f"process {process} failed: {type(error).__name__}, see its own output")
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(FAILED)  # the interpreter's own end would wait for the others
