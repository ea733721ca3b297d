"""Connects all processes of a run to process 0. Messages are lines of JSON."""

import json
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, NoReturn, TextIO

from rats_jax.errors import UserError
from rats_jax.parallel.cluster import Place

SILENCE = 30  # seconds until a machine that does not answer counts as lost


class Missing(UserError):
    """A process did not join in time. Starting again may help."""


class Peer(NamedTuple):
    """Another process; `about` is its own short description."""

    wire: socket.socket
    lines: TextIO
    about: str = ""

    def send(self, **message) -> None:
        """Sends a message; if the other process is gone, only `receive` shows it."""
        with suppress(OSError):
            self.wire.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict:
        """The next message; {} if the connection has ended or the data is not a message."""
        try:
            message = json.loads(self.lines.readline(1 << 20))
        except (OSError, ValueError):
            return {}
        return message if isinstance(message, dict) else {}

    def close(self) -> None:
        self.lines.close()
        self.wire.close()

    def gone(self) -> bool:
        self.wire.setblocking(False)
        try:
            return not self.wire.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.wire.setblocking(True)


def meet(place: Place, *, about: str, wait: float) -> tuple[dict[int, Peer], str]:
    """Waits for all processes of a run.

    Returns number -> peer, which is all other processes in process 0 and process 0 in the others,
    and HOST:PORT for the coordination service of JAX, the same in all processes. Raises in every
    process that has joined: Missing if not all join within `wait` seconds, UserError if their
    numbers are not consistent.
    """
    host, _, port = place.coordinator.rpartition(":")
    if place.process:
        return _reach(place, (host.strip("[]"), int(port)), about=about, wait=wait)
    peers = _gather(place, int(port), wait=wait)
    with socket.create_server(("", 0)) as free:
        service = f"{host}:{free.getsockname()[1]}"
    for peer in peers.values():
        peer.send(service=service)
    return peers, service


def _gather(place: Place, port: int, *, wait: float) -> dict[int, Peer]:
    deadline = time.monotonic() + wait
    peers: dict[int, Peer] = {}
    with _listen(port) as server:
        while len(peers) < place.processes - 1:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                wire, _ = server.accept()
            except TimeoutError:
                wire = None
            peers = {i: peer for i, peer in peers.items() if not peer.gone()}
            if wire is None:
                missing = [i for i in range(1, place.processes) if i not in peers]
                _refuse(
                    Missing,
                    peers.values(),
                    f"{len(peers) + 1} of {place.processes} processes joined at "
                    f"{place.coordinator} within {wait:g} s, but not process {_some(missing)}: "
                    "check whether they run and can reach that address, or allow more time with "
                    "--wait",
                )
            peer = _connected(wire)
            wire.settimeout(5)
            hello = peer.receive()
            wire.settimeout(None)
            if not {"process", "processes", "about"} <= hello.keys():
                peer.close()  # not a process of a run
                continue
            process, peer = hello["process"], peer._replace(about=hello["about"])
            who, problem = f"process {process} ({peer.about})", None
            if hello["processes"] != place.processes:
                total = f"{hello['processes']}, but process 0 as one of {place.processes}"
                problem = f"{who} was started as one of {total}"
            elif process == 0 or process in peers:
                problem = f"{who} joined, but there is already a process with this number"
            if problem:
                _refuse(UserError, [*peers.values(), peer], problem)
            peers[process] = peer
    return peers


def _listen(port: int) -> socket.socket:
    try:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        return socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=both)
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen on port {port} ({error.strerror}): choose another with "
            "--coordinator, or with JAX_COORDINATOR_PORT on SLURM and TPU pods"
        ) from None


def _refuse(kind: type[UserError], peers: Iterable[Peer], message: str) -> NoReturn:
    for peer in peers:
        peer.send(refused=message, missing=kind is Missing)
    raise kind(message)


def _reach(place: Place, address, *, about: str, wait: float) -> tuple[dict[int, Peer], str]:
    deadline = time.monotonic() + wait
    while True:
        try:
            wire = socket.create_connection(address, timeout=5)
            if wire.getsockname() != wire.getpeername():
                break
            wire.close()  # without a listener, a local port can connect to itself
        except OSError as error:
            if time.monotonic() > deadline:
                raise Missing(
                    f"process {place.process} did not reach process 0 at {place.coordinator} "
                    f"within {wait:g} s ({error.strerror or error}): check whether process 0 runs "
                    "there and can be reached over the network"
                ) from None
        time.sleep(0.2)
    peer = _connected(wire)
    peer.send(process=place.process, processes=place.processes, about=about)
    wire.settimeout(wait + SILENCE)  # process 0 started to wait earlier and gives up earlier
    answer = peer.receive()
    wire.settimeout(None)
    if "refused" in answer:
        raise (Missing if answer["missing"] else UserError)(answer["refused"])
    if "service" not in answer:
        raise Missing(
            f"process 0 at {place.coordinator} closed the connection before all processes had "
            "joined: check its output, and whether it belongs to this run"
        )
    return {0: peer}, answer["service"]


def _connected(wire: socket.socket) -> Peer:
    # The kernel closes the connection if the other machine is silent, however busy Python is.
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE // 3)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENCE // 6)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
    return Peer(wire, wire.makefile(encoding="utf-8"))


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown} and {len(numbers) - 8} more" if len(numbers) > 8 else shown
