"""A connection from process 0 to each other process, by which all detect the end of one at once.

JAX's heartbeats take longer and end the process with a page of text. Here the kernel closes the
connections of a process that dies, whatever the cause.
"""

import os
import queue
import threading
import time

from rats_jax.errors import LOST
from rats_jax.parallel.rendezvous import Peer

FAREWELL_SECONDS = 5  # seconds that process 0 waits for the others to end first
STEPS_AHEAD = 2  # steps that a process may be ahead of process 0


class Link:
    """Watches the other processes, with a thread for each.

    If one is lost or calls `end_others`, this process ends: with one line on standard error and
    `os._exit`, since nothing else ends a thread that waits in a collective.

    Args:
      process: the number of this process.
      peers: see `rendezvous.meet`.
    """

    def __init__(self, process: int, peers: dict[int, Peer]):
        self._process, self._peers = process, peers
        self._lock = threading.Lock()
        self._ending = False  # then a closed connection is not a loss
        self._working = len(peers) + 1  # unfinished processes, counted by process 0
        self._over = threading.Event()
        self._sending = threading.Lock()
        # For `gather`: process 0 gets one value from each, the others get all from process 0.
        self._values: dict[int, queue.SimpleQueue] = {
            number: queue.SimpleQueue() for number in peers
        }
        self._stop: int | None = None  # the exit status of a requested stop
        self._stop_before: int | None = None  # the step, once it is decided
        self._settled: queue.SimpleQueue = queue.SimpleQueue()  # the processes that know it
        self._watches = [
            threading.Thread(target=self._watch, args=item, name=f"process-{item[0]}", daemon=True)
            for item in peers.items()
        ]
        for watch in self._watches:
            watch.start()

    def gather(self, value) -> list:
        """Waits without a time limit until all processes have called it; returns the value of each
        (any JSON values)."""
        if self._process:
            self._send(0, value=value)
            return self._values[0].get()
        values = [value, *(self._values[number].get() for number in sorted(self._peers))]
        for number in self._peers:
            self._send(number, value=values)
        return values

    def ask_to_stop(self, status: int) -> None:
        """Requests that all processes stop before the same step, soon, and end with this exit
        status. May be called from any thread."""
        if self._process:
            self._send(0, stop=status)
        elif self._stop is None:
            self._stop = status

    def stops_before(self, step: int) -> int | None:
        """The exit status if all processes stop before this step, else None.

        Each process calls this before every step. It starts a step only after the step two before
        it is finished, which needs all processes. So no process is more than `STEPS_AHEAD` steps
        ahead of process 0, which decides the step.
        """
        if self._process == 0 and self._stop is not None and self._stop_before is None:
            self._stop_before = step + STEPS_AHEAD
            for number in self._peers:
                self._send(number, stop=self._stop, before=self._stop_before)
            for _ in self._peers:
                self._settled.get()
        settled = self._stop_before is not None and step >= self._stop_before
        return self._stop if settled else None

    def finish(self) -> None:
        """Waits without a time limit until all processes have called it."""
        if self._process == 0:
            self._count_done()
        else:
            self._send(0, done=True)
        self._over.wait()

    def end_others(self, status: int, message: str) -> None:
        """Ends the other processes with `message`. Call when this process is about to end."""
        if self._begin_to_end():
            self._spread(status, message)

    def _watch(self, process: int, peer: Peer) -> None:
        while message := peer.receive():
            if "end" in message:
                self._end(*message["end"])
            elif "value" in message:
                self._values[process].put(message["value"])
            elif "stop" in message and self._process == 0:
                self.ask_to_stop(message["stop"])
            elif "stop" in message:
                self._stop, self._stop_before = message["stop"], message["before"]
                self._send(0, settled=True)
            elif "settled" in message:
                self._settled.put(process)
            elif self._process == 0:
                self._count_done()
            else:
                self._begin_to_end()
                self._over.set()
        who = f"process {process}" + (f" ({peer.about})" if peer.about else "")
        self._end(
            LOST,
            f"{who} was lost; see its output, and run the same command again to resume from the "
            "last checkpoint, if there is one",
        )

    def _send(self, process: int, **message) -> None:
        with self._sending:  # otherwise two threads could mix their lines
            self._peers[process].send(**message)

    def _count_done(self) -> None:
        with self._lock:
            self._working -= 1
            last = self._working == 0
        if last and self._begin_to_end():
            for number in self._peers:
                self._send(number, done=True)
            self._over.set()

    def _begin_to_end(self) -> bool:
        """Marks the end as begun. False if it had begun already."""
        with self._lock:
            begun, self._ending = self._ending, True
        return not begun

    def _end(self, status: int, message: str) -> None:
        if self._begin_to_end():
            # Not by sys.stderr, whose lock the main thread may hold. Nothing may be printed after
            # it, such as errors of a failing collective or of JAX without its service.
            error = os.dup(2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(error, f"process {self._process}: error: {message}\n".encode())
            if self._process == 0:
                self._spread(status, message)
            os._exit(status)

    def _spread(self, status: int, message: str) -> None:
        for number in self._peers:
            self._send(number, end=[status, message])
        if self._process == 0:
            # When process 0 ends, so does the service of JAX, and JAX would end the others first.
            until = time.monotonic() + FAREWELL_SECONDS
            for watch in self._watches:
                if watch is not threading.current_thread():
                    watch.join(max(until - time.monotonic(), 0))
