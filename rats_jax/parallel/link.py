"""By a wire from process 0 to each other process, all learn at once of the end of one.

JAX's own heartbeats take longer, and end the process with a page of text. Here the kernel tells: it
closes the connections of a process that dies, whatever it died of.
"""

import os
import queue
import threading
import time

from rats_jax.command_line import LOST
from rats_jax.parallel.rendezvous import Peer

FAREWELL = 5  # seconds that process 0 waits for the others to end before it


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
        self._came = {number: 0 for number in peers}  # how often each said `here`
        self._come = threading.Condition()
        self._words = queue.SimpleQueue()  # of process 0, to each `agree`
        self._watches = [
            threading.Thread(target=self._watch, args=item, name=f"process-{item[0]}", daemon=True)
            for item in peers.items()
        ]
        for watch in self._watches:
            watch.start()

    def agree(self, value):
        """Waits, for as long as it takes, until all processes have come here; returns the value
        (anything of JSON) that process 0 came with."""
        if self._process:
            self._peers[0].send(here=True)
            return self._words.get()
        with self._come:
            self._come.wait_for(lambda: all(self._came.values()))
            self._came = {number: count - 1 for number, count in self._came.items()}
        for peer in self._peers.values():
            peer.send(word=value)
        return value

    def finish(self) -> None:
        """Waits, for as long as it takes, until all processes have come here."""
        if self._process == 0:
            self._count_done()
        else:
            self._peers[0].send(done=True)
        self._over.wait()

    def tell(self, status: int, message: str) -> None:
        """Ends the other processes, with `message`; this one is about to end."""
        if self._begin_to_end():
            self._spread(status, message)

    def _watch(self, process: int, peer: Peer) -> None:
        while message := peer.receive():
            if "end" in message:
                self._end(*message["end"])
            elif "word" in message:
                self._words.put(message["word"])
            elif "here" in message:
                with self._come:
                    self._came[process] += 1
                    self._come.notify()
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

    def _count_done(self) -> None:
        with self._lock:
            self._working -= 1
            last = self._working == 0
        if last and self._begin_to_end():
            for peer in self._peers.values():
                peer.send(done=True)
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
        for peer in self._peers.values():
            peer.send(end=[status, message])
        if self._process == 0:
            # With process 0 ends the service of JAX, and JAX would speak first in the others.
            until = time.monotonic() + FAREWELL
            for watch in self._watches:
                if watch is not threading.current_thread():
                    watch.join(max(until - time.monotonic(), 0))
