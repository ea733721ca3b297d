"""Ends a run after a step and saves it on SIGTERM, Ctrl-C or when the terminal closes."""

import os
import signal
import socket
import threading
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import jax

from rats_jax import command_line
from rats_jax.errors import INTERRUPTED, SAVED, Stopped
from rats_jax.parallel.distributed import gather, link
from rats_jax.voice import say

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """Handles the signals while its block runs in the main thread; in other threads does nothing.

    The first signal asks all processes of the run to stop before the same step. A second Ctrl-C, or
    any signal before there is something to save, ends a command at once. In the user's own program,
    such as a notebook, these two cases behave as without this class: Ctrl-C raises
    KeyboardInterrupt. A thread receives the signals immediately, whereas Python's handlers wait
    until the main thread returns from JAX.
    """

    def __init__(self):
        self._something_to_save = False
        self._asked: int | None = None  # the exit status, once a signal was received
        self._interrupts = self._interrupts_seen = 0
        self._before = {}
        self._is_command = command_line.is_running() or bool(link())

    def __enter__(self) -> "Stop":
        told_of_others = jax.process_count() == 1 or link()  # else JAX's handlers stay
        if told_of_others and threading.current_thread() is threading.main_thread():
            self._listen()
        return self

    def __exit__(self, kind, *_) -> None:
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            # Launchers may repeat SIGTERM, which must not replace the exit status.
            if kind is Stopped and self._is_command:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._signals.close()
            self._thread.join()
            self._hears.close()

    def now_there_is_something_to_save(self) -> None:
        self._something_to_save = True

    def before(self, step: int) -> int | None:
        """The exit status if the run stops before this step, else None: 130 after Ctrl-C, else 85.

        Every process must call this before each step.
        """
        return others.stops_before(step) if (others := link()) else self._asked

    def asked_too_late(self) -> int | None:
        """The exit status if a process was asked to stop, else None.

        Every process must call this after the last step.
        """
        return next((asked for asked in gather(self._asked) if asked is not None), None)

    def _listen(self) -> None:
        self._hears, self._signals = socket.socketpair()
        self._signals.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._signals.fileno())
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # a shell ignores it for background jobs
                self._before[number] = signal.signal(number, self._in_main_thread)
        self._thread = threading.Thread(target=self._hear_all, name="signals", daemon=True)
        self._thread.start()

    def _in_main_thread(self, number: int, frame: FrameType | None) -> None:
        """The Python handler, called once the main thread has returned from JAX."""
        self._interrupts_seen += number == signal.SIGINT
        interrupts = max(self._interrupts, self._interrupts_seen)  # the thread may be behind
        ends = not self._something_to_save or interrupts > 1
        if self._is_command or not ends:
            return
        before = self._before[number]
        if callable(before):
            before(number, frame)
        else:
            signal.signal(number, before)
            os.kill(os.getpid(), number)

    def _hear_all(self) -> None:
        while numbers := self._hears.recv(64):
            for number in numbers:
                if number in SIGNALS:
                    self._hear(signal.Signals(number))

    def _hear(self, heard: signal.Signals) -> None:
        status = INTERRUPTED if heard == signal.SIGINT else SAVED
        if not self._something_to_save:
            if not self._is_command:
                return
            message = f"{heard.name} before the first step: there was nothing to save"
            if others := link():
                others.end_others(status, message)
            _end(status, message)
        self._interrupts += heard == signal.SIGINT
        if self._interrupts == 2 and self._is_command:
            _end(
                INTERRUPTED,
                "interrupted; run the same command again to resume from the last checkpoint",
            )
        if self._asked is None:
            self._asked = status
            if others := link():
                others.ask_to_stop(status)
            again = "; press Ctrl-C again to end immediately" if self._interrupts else ""
            say(f"{heard.name}: the run ends after this step and saves its state{again}")


def _end(status: int, message: str) -> NoReturn:
    with suppress(OSError):  # the terminal may be closed
        os.write(2, f"{message}\n".encode())  # the main thread may hold the lock of sys.stderr
    os._exit(status)
