"""Reports go through Python's logging: silenced, redirected, or printed."""

import logging
import subprocess
import sys

import pytest

from rats_jax import voice
from rats_jax.voice import LOGGER, complain, say, speak_as


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """The logger as it is after the import, whatever was said before, and again afterwards."""
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    LOGGER.handlers[:] = []
    LOGGER.setLevel(logging.NOTSET)
    LOGGER.propagate = True
    monkeypatch.setattr(voice, "_process", None)
    yield
    LOGGER.handlers[:] = handlers
    LOGGER.setLevel(level)
    LOGGER.propagate = propagate


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_without_any_set_up_reports_are_printed(capsys):
    say("step 1")
    say("warning: step 2")
    shown = capsys.readouterr()
    assert shown.out == "step 1\nwarning: step 2\n" and shown.err == ""


def test_each_report_is_printed_once_where_the_root_logger_prints_too(capsys):
    root = Kept()
    logging.getLogger().addHandler(root)
    try:
        say("step 1")
    finally:
        logging.getLogger().removeHandler(root)
    assert capsys.readouterr().out == "step 1\n" and not root.records


def test_a_level_silences_reports(capsys):
    LOGGER.setLevel(logging.WARNING)
    say("step 1")
    say("warning: the images have changed")
    assert capsys.readouterr().out == "warning: the images have changed\n"
    LOGGER.setLevel(logging.CRITICAL)
    say("warning: the images have changed")
    assert capsys.readouterr().out == ""
    assert LOGGER.level == logging.CRITICAL


def test_a_handler_of_ones_own_receives_the_records_in_place_of_the_output(capsys):
    own = Kept()
    LOGGER.addHandler(own)
    say("100 % done: {} %s")
    say("warning: nothing is left")
    assert capsys.readouterr().out == "" and LOGGER.handlers == [own]
    found = [(record.name, record.levelname, record.getMessage()) for record in own.records]
    assert found == [
        ("rats_jax", "INFO", "100 % done: {} %s"),
        ("rats_jax", "WARNING", "warning: nothing is left"),
    ]


def test_process_0_alone_reports_and_each_names_itself_in_its_errors(capsys):
    speak_as(1)
    say("step 1")
    complain("error: lost")
    speak_as(0)
    say("step 2")
    shown = capsys.readouterr()
    assert shown.out == "step 2\n" and shown.err == "process 1: error: lost\n"


@pytest.mark.processes
def test_nothing_is_attached_at_import():
    program = (
        "import logging\n"
        "from rats_jax.voice import LOGGER\n"
        "print(LOGGER.handlers, LOGGER.level, LOGGER.propagate, logging.getLogger().handlers)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[] 0 True []\n", done.stderr


def test_handlers_of_the_root_logger_do_not_repeat_reports(capsys):
    root, own = Kept(), Kept()
    LOGGER.addHandler(own)
    logging.getLogger().addHandler(root)
    try:
        say("step 1")
    finally:
        logging.getLogger().removeHandler(root)
    assert [record.getMessage() for record in own.records] == ["step 1"] and not root.records
    assert capsys.readouterr().out == ""


def test_a_closed_stream_and_one_without_an_encoding_are_no_errors(monkeypatch):
    class Plain(list):
        closed = False
        write, flush = list.append, lambda self: None

    monkeypatch.setattr(sys, "stdout", stream := Plain())
    say("step 1")
    assert stream == ["step 1\n"]
    stream.closed = True
    say("step 2")
    assert stream == ["step 1\n"]
