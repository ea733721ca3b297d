"""Threads, or processes with threads, that do tasks in any order."""

import atexit
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from rats_jax.errors import UserError

Work = Callable[[Any], Any]


class Done(NamedTuple):
    """The end of a task, known by its key: what `work` returned, or why it did not."""

    key: Any
    result: Any
    error: Exception | None


class Threads:
    """`work(task)` on threads of this process."""

    def __init__(self, work: Work, *, threads: int):
        self._work = work
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="data")
        self._done = queue.SimpleQueue()

    def submit(self, key, task) -> None:
        self._executor.submit(lambda: self._done.put(_do(self._work, key, task)))

    def next_done(self) -> Done:
        """Waits for a task to end."""
        return self._done.get()

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)


class Processes:
    """`work(task)` on threads of worker processes; `work`, tasks and results must be picklable.

    Workers do not hear Ctrl-C and SIGTERM, which reach the whole process group: the parent decides
    when they end. They end with it, however it ends.

    Args:
      ahead: how many tasks a worker is given beyond one for each of its threads.
      advice: what a user can do who finds that a worker was killed for want of memory.
    """

    def __init__(self, work: Work, *, processes: int, threads: int, ahead: int, advice: str):
        self._outstanding = threads + ahead
        self._advice = advice
        self._backlog = deque()  # for whom is free first
        self._load: dict[Connection, int] = {}
        self._workers: dict[Connection, multiprocessing.Process] = {}
        atexit.register(self.close)  # before multiprocessing's own, which would join the workers
        context = multiprocessing.get_context("spawn")  # a fork would copy JAX's locks
        with _signals_blocked():  # as the workers inherit it
            for _ in range(processes):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_serve, args=(theirs, work, threads), daemon=True)
                worker.start()
                theirs.close()  # so that the worker's death closes the pipe
                self._workers[ours], self._load[ours] = worker, 0

    def submit(self, key, task) -> None:
        self._backlog.append((key, task))
        self._hand_out()

    def next_done(self, timeout: float | None = None) -> Done | None:
        """Waits for a task to end; None if none does within `timeout` seconds.

        Raises UserError if a worker has died.
        """
        for connection in wait(list(self._workers), timeout):
            try:
                done = connection.recv()
            except (EOFError, OSError):
                self._report_death(connection)
            self._load[connection] -= 1
            self._hand_out()
            return done
        return None

    def close(self) -> None:
        """Ends the workers at once: they hold nothing that could be lost."""
        atexit.unregister(self.close)
        for worker in self._workers.values():
            worker.kill()
        for connection, worker in self._workers.items():
            worker.join()
            connection.close()
        self._workers = {}

    def _hand_out(self) -> None:
        while self._backlog:
            connection = min(self._load, key=self._load.get)
            if self._load[connection] >= self._outstanding:
                return
            try:
                connection.send(self._backlog[0])
            except OSError:
                self._report_death(connection)
            self._backlog.popleft()
            self._load[connection] += 1

    def _report_death(self, connection: Connection) -> None:
        worker = self._workers[connection]
        worker.join(timeout=10)
        code = worker.exitcode
        if code is None or code >= 0:
            how = f"ended with status {code}; its own message stands above"
        else:
            how = f"was ended by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += f", as the kernel does when memory runs out: {self._advice}"
        raise UserError(f"a worker (process {worker.pid}) {how}; the same command goes on")


@contextmanager
def _signals_blocked():
    resource_tracker.ensure_running()  # its start would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do(work: Work, key, task) -> Done:
    try:
        return Done(key, work(task), None)
    except Exception as error:
        return Done(key, None, error)


def _serve(connection: Connection, work: Work, threads: int) -> None:
    sending = threading.Lock()

    def serve(key, task) -> None:
        done = _do(work, key, task)
        if done.error is not None and not isinstance(done.error, UserError):
            # Not every exception survives the pipe, and its traceback never does.
            told = "".join(traceback.format_exception(done.error))
            done = Done(key, None, RuntimeError(f"in a worker:\n{told}"))
        try:
            with sending:
                connection.send(done)
        except OSError:  # the parent is gone
            os._exit(1)

    with ThreadPoolExecutor(threads) as executor:
        while True:
            try:
                key, task = connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            executor.submit(serve, key, task)
