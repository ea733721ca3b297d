"""How long a work will take is said in words."""

import re
import threading
import time

import pytest

from rats_jax import progress
from rats_jax.progress import Progress, reports_time, time_left


@pytest.mark.parametrize(
    "passed, share, expected",
    [
        (3600, 0.25, "about 3 h left"),
        (600, 0.5, "about 10 min left"),
        (30, 0.5, "less than a minute left"),
        (600, 1, "done"),
    ],
)
def test_time_left(monkeypatch, passed, share, expected):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100 + passed)
    assert time_left(100, share) == expected


def test_progress_is_said_every_few_seconds(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress("carparts", 400)
    for now[0] in (1, 21, 30, 60):
        shown.add(50)
    assert capsys.readouterr().out.splitlines() == [
        "carparts: 100 of 400 images, about 1 min left",
        "carparts: 200 of 400 images, less than a minute left",
    ]


def test_bytes_show_the_rates_and_the_time_that_is_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress("train", 5000, done=1000, bytes_left=4_000_000_000)
    shown.show(0, 0)
    now[0] = 100
    shown.show(200, 1_000_000_000)
    shown.show(201, 1_000_000_000)
    assert capsys.readouterr().out == (
        "train: 1,200 of 5,000 images, 2 images/s, 10 MB/s, about 5 min left\n"
    )


def test_nothing_done_yet_has_no_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress("train", 1, bytes_left=10)
    now[0] = 30
    shown.show(0, 0)
    assert capsys.readouterr().out == "train: 0 of 1 image, 0 images/s, 0 MB/s\n"


def test_on_a_terminal_one_line_changes_in_place(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = Progress("train", 100, in_place=True)
    for now[0] in (0.1, 0.6, 1.2):
        shown.add(25)
    shown.close()
    written = capsys.readouterr().out
    assert "\n" not in written and written.count("\r") == 3
    assert "train: 50 of 100 images" in written and written.endswith("\r\x1b[K")


def test_the_time_of_work_without_a_known_end_is_told_until_it_ends():
    lines, second = [], threading.Event()

    def tell(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            second.set()

    with pytest.raises(ValueError), reports_time("compiling", tell, seconds_between_lines=0.01):
        assert second.wait(60)
        raise ValueError
    ended = len(lines)
    assert all(re.fullmatch(r"compiling, \d+ s", line) for line in lines)
    time.sleep(0.1)
    assert len(lines) == ended
