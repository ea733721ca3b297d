"""By a wire from process 0 to each other process, all learn at once of the end of one.

JAX's own heartbeats take longer, and end the process with a page of text. Here the kernel tells: it
closes the connections of a process that dies, whatever it died of.
"""

import os
import queue
import threading
import time

from rats_jax.errors import LOST
from rats_jax.parallel.rendezvous import Peer

FAREWELL_SECONDS = 5  # seconds that process 0 waits for the others to end before it
STEPS_AHEAD = 2  # steps that a process may have begun when process 0 has not


class Link:
    """Watches over the other processes, from a thread for each.

    When one is lost, or says `tell`, this one ends: with one line on standard error, by `os._exit`,
    since a thread that waits in a collective ends in no other way.

    Args:
      process: the number of this one.
      peers: see `rendezvous.meet`.
    """

    def __init__(self, process: int, peers: dict[int, Peer]):
        self._process, self._peers = process, peers
        self._lock = threading.Lock()
        self._ending = False  # a connection that closes is no longer a loss
        self._working = len(peers) + 1  # as process 0 counts
        self._over = threading.Event()
        self._sending = threading.Lock()
        # To process 0: the values of each, by `gather`. To the others: all values, from process 0.
        self._values = {number: queue.SimpleQueue() for number in peers}
        self._stop: int | None = None  # is asked for, to end with this exit status
        self._stop_before: int | None = None  # the step, once it is settled
        self._settled = queue.SimpleQueue()  # who knows of it
        self._watches = [
            threading.Thread(target=self._watch, args=item, name=f"process-{item[0]}", daemon=True)
            for item in peers.items()
        ]
        for watch in self._watches:
            watch.start()

    def gather(self, value) -> list:
        """Waits, for as long as it takes, until all processes have come here; returns what each
        came with (anything of JSON)."""
        if self._process:
            self._send(0, value=value)
            return self._values[0].get()
        values = [value, *(self._values[number].get() for number in sorted(self._peers))]
        for number in self._peers:
            self._send(number, value=values)
        return values

    def ask_to_stop(self, status: int) -> None:
        """All processes are to stop before the same step, soon, and to end with this exit status.
        From any thread."""
        if self._process:
            self._send(0, stop=status)
        elif self._stop is None:
            self._stop = status

    def stops_before(self, step: int) -> int | None:
        """The exit status, if all processes stop before this step.

        Each asks before it begins a step, and begins none before the step before the last is over,
        which takes all processes: so none is more than `AHEAD` steps ahead of process 0, which
        settles the matter.
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
        """Waits, for as long as it takes, until all processes have come here."""
        if self._process == 0:
            self._count_done()
        else:
            self._send(0, done=True)
        self._over.wait()

    def tell(self, status: int, message: str) -> None:
        """Ends the other processes, with `message`; this one is about to end."""
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
            f"{who} was lost, see its own output; the same command goes on from the last "
            "checkpoint, if there is one",
        )

    def _send(self, process: int, **message) -> None:
        with self._sending:  # else two threads could mix their lines
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
        """False if the end had begun already."""
        with self._lock:
            begun, self._ending = self._ending, True
        return not begun

    def _end(self, status: int, message: str) -> None:
        if self._begin_to_end():
            # Not by sys.stderr, whose lock the main thread may hold; and no other word after it,
            # such as that of a collective that fails, or of JAX without its service.
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
            # With process 0 ends the service of JAX, and JAX would speak first in the others.
            until = time.monotonic() + FAREWELL_SECONDS
            for watch in self._watches:
                if watch is not threading.current_thread():
                    watch.join(max(until - time.monotonic(), 0))
