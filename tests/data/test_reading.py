"""How long a work will take is said in words."""

import pytest

from rats_jax.data import reading
from rats_jax.data.reading import Progress, time_left


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
    monkeypatch.setattr(reading.time, "monotonic", lambda: 100 + passed)
    assert time_left(100, share) == expected


def test_progress_is_said_every_few_seconds(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(reading.time, "monotonic", lambda: now[0])
    progress = Progress("carparts", 400)
    for now[0] in (1, 21, 30, 60):
        progress.add(50)
    assert capsys.readouterr().out.splitlines() == [
        "carparts: 100 of 400 images, about 1 min left",
        "carparts: 200 of 400 images, less than a minute left",
    ]
