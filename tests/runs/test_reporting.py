"""What a report counts."""

import numpy as np
import pytest

from rats_jax.runs.reporting import Interval


def test_its_time_does_not_count_in_images_per_second(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("rats_jax.runs.reporting.time.perf_counter", lambda: clock[0])
    progress = Interval(batch_size=8, steps=10, steps_per_epoch=5)
    for _ in range(3):
        progress.add({"loss": np.float32(1), "skipped_in_a_row": np.int32(0)})
        clock[0] += 1
        with progress.paused():
            clock[0] += 100
    assert progress.report(3, seconds_waited=0)["images_per_second"] == pytest.approx(16 / 3)
