"""In a program of the user, signals that do not save do what they do without rats_jax."""

import os
import signal
import time

import pytest

from rats_jax import command_line
from rats_jax.errors import INTERRUPTED, SAVED, Stopped
from rats_jax.runs.guards.stop import SIGNALS, Stop


@pytest.fixture(autouse=True)
def handlers(ctrl_c):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.2)  # until the thread has heard it


def test_before_the_first_step_ctrl_c_is_an_exception():
    with pytest.raises(KeyboardInterrupt), Stop():
        send(signal.SIGINT)


def test_then_the_first_ctrl_c_asks_to_stop_and_the_second_is_an_exception(capsys):
    with Stop() as stop:
        stop.now_there_is_something_to_save()
        assert stop.before(1) is None
        send(signal.SIGINT)
        assert stop.before(2) == INTERRUPTED
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert "the run ends after this step and saves its state" in capsys.readouterr().out


def test_a_program_that_goes_on_hears_sigterm_as_before():
    heard = []
    signal.signal(signal.SIGTERM, lambda *_: heard.append("own"))
    try:
        with pytest.raises(Stopped), Stop() as stop:
            stop.now_there_is_something_to_save()
            send(signal.SIGTERM)
            assert stop.before(1) == SAVED and heard == []
            raise Stopped("saved", SAVED)
        send(signal.SIGTERM)
        assert heard == ["own"]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_command_says_sigterm_again_to_nobody(monkeypatch):
    monkeypatch.setattr(command_line, "_running", True)
    try:
        with pytest.raises(Stopped), Stop():
            raise Stopped("saved", SAVED)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
