"""Pools of threads, or of processes with threads, that do tasks in any order."""

import atexit
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from rats_jax.errors import UserError

CLOSE_SECONDS = 5  # how long `close` waits for the threads

Work = Callable[[Any], Any]


class Done(NamedTuple):
    """The result of a task, identified by its key, or the error that ended the task."""

    key: Any
    result: Any
    error: Exception | None


class Threads:
    """Runs `work(task)` on threads of this process."""

    def __init__(self, work: Work, *, threads: int):
        self._work = work
        self._tasks, self._done = queue.SimpleQueue(), queue.SimpleQueue()
        # Daemons: a thread that hangs in a dead file system must not keep the process alive.
        self._threads = [
            threading.Thread(target=self._serve, name=f"data-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, key, task) -> None:
        self._tasks.put((key, task))

    def next_done(self) -> Done:
        """Waits for a task to end. Raises RuntimeError if the pool is closed."""
        done = self._done.get()
        if done is None:
            self._done.put(None)  # for the next caller
            raise RuntimeError("the pool is closed")
        return done

    def close(self) -> None:
        """Ends the threads after their current tasks; waits a few seconds for them."""
        while not self._tasks.empty():
            with suppress(queue.Empty):
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        self._done.put(None)
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _serve(self) -> None:
        while (submitted := self._tasks.get()) is not None:
            self._done.put(_do(self._work, *submitted))


class Processes:
    """Runs `work(task)` on threads of worker processes. Work, tasks and results must be picklable.

    Workers ignore Ctrl-C and SIGTERM, which reach the whole process group: the parent decides when
    they end. They also end if the parent dies.

    Args:
      ahead: number of tasks that a worker has beyond one for each of its threads.
      advice: for the error message: what a user can do if memory runs out and a worker is killed.
    """

    def __init__(self, work: Work, *, processes: int, threads: int, ahead: int, advice: str):
        self._closed = False
        self._outstanding = threads + ahead
        self._advice = advice
        self._backlog = deque()  # for the first worker that is free
        self._load: dict[Connection, int] = {}
        self._workers: dict[Connection, multiprocessing.Process] = {}
        atexit.register(self.close)  # before multiprocessing's, which would join the workers
        context = multiprocessing.get_context("spawn")  # a fork would copy JAX's locks
        with _signals_blocked():  # the workers inherit this
            for _ in range(processes):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_serve, args=(theirs, work, threads), daemon=True)
                try:
                    worker.start()
                except (pickle.PicklingError, AttributeError, TypeError) as error:
                    raise UserError(
                        f"the data source cannot be sent to the worker processes ({error}); it "
                        "must not contain open files, locks or local functions"
                    ) from error
                theirs.close()  # so that the worker's death closes the pipe
                self._workers[ours], self._load[ours] = worker, 0

    def submit(self, key, task) -> None:
        self._backlog.append((key, task))
        self._hand_out()

    def next_done(self, timeout: float | None = None) -> Done | None:
        """Waits for a task to end; returns None if none does within `timeout` seconds.

        Raises:
          UserError: a worker has died.
          RuntimeError: the pool is closed.
        """
        connections = list(self._workers)
        # Checked after the list is made: another thread may call `close`, and waiting for an empty
        # list never ends.
        if self._closed:
            raise RuntimeError("the pool is closed")
        for connection in wait(connections, timeout):
            try:
                done = connection.recv()
            except (EOFError, OSError):
                self._report_death(connection)
            self._load[connection] -= 1
            self._hand_out()
            return done
        return None

    def close(self) -> None:
        """Kills the workers at once, since they hold no data that could be lost. Another thread may
        be waiting in `next_done`."""
        self._closed = True
        atexit.unregister(self.close)
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.join()
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
        if self._closed:
            raise RuntimeError("the pool is closed")
        worker = self._workers[connection]
        worker.join(timeout=10)
        code = worker.exitcode
        if code is None or code >= 0:
            how = f"ended with status {code}; its own message, if any, is above"
        else:
            how = f"was killed by {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += f", which the kernel sends when memory runs out: {self._advice}"
        raise UserError(f"a worker (process {worker.pid}) {how}; run the same command again")


@contextmanager
def _signals_blocked():
    resource_tracker.ensure_running()  # starting it later would unblock the signals
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
            # Not every exception can be pickled, and tracebacks never can.
            trace = "".join(traceback.format_exception(done.error))
            done = Done(key, None, RuntimeError(f"in a worker:\n{trace}"))
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
