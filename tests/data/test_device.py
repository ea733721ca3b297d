"""Batches reach the devices in order, ahead of time, and leave no thread behind."""

import os
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from rats_jax.data.device import HOST_FIELDS, device_batches
from rats_jax.errors import UserError


class Stream:
    """Batch i is filled with i; fails at `fail_at`; counts what was asked of it."""

    def __init__(self, fail_at: int | None = None, end_at: int | None = None):
        self.fail_at = fail_at
        self.end_at = end_at
        self.given = 0
        self.closed = False

    def __iter__(self):
        return self

    def __next__(self):
        if self.given == self.fail_at:
            raise UserError("the disk is gone; bring it back")
        if self.given == self.end_at:
            raise StopIteration
        i = self.given
        self.given += 1
        return {
            "global": np.full((4, 2, 6, 6, 3), i, np.uint8),
            "local": np.full((4, 3, 4, 4, 3), i, np.uint8),
            "index": np.arange(4) + i,
            "unreadable": {},
            "replaced": 0,
        }

    def close(self):
        self.closed = True


def sharding():
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_batches_arrive_in_order_on_the_device_with_their_host_fields():
    with device_batches(Stream(), sharding()) as batches:
        for i in range(6):
            images, host = next(batches)
            assert images.keys() == {"global", "local"} and host.keys() == set(HOST_FIELDS)
            assert isinstance(images["global"], jax.Array)
            assert images["global"].dtype == np.uint8 and images["local"].shape == (4, 3, 4, 4, 3)
            assert (np.asarray(images["global"]) == i).all()
            assert (np.asarray(images["local"]) == i).all()
            assert host["index"].tolist() == [i, i + 1, i + 2, i + 3]


def test_what_the_host_overwrites_stays_as_it_was_on_the_device():
    class Reusing(Stream):
        buffer = np.zeros((4, 64, 64, 3), np.uint8)

        def __next__(self):
            batch = super().__next__()
            self.buffer[:] = batch["index"][0]
            return batch | {"canvas": self.buffer}

    with device_batches(Reusing(), sharding(), depth=3) as batches:
        for i in range(6):
            samples, _ = next(batches)
            time.sleep(0.02)
            assert (np.asarray(samples["canvas"]) == i).all()


def test_the_thread_runs_ahead_by_the_depth_and_no_further():
    stream = Stream()
    with device_batches(stream, sharding(), depth=3) as batches:
        wait_for(lambda: stream.given == 4)  # three wait, one is in hand
        time.sleep(0.3)
        assert stream.given == 4
        next(batches)
        wait_for(lambda: stream.given == 5)


def test_an_error_of_the_stream_reaches_the_consumer_in_its_turn():
    with device_batches(Stream(fail_at=2), sharding()) as batches:
        next(batches)
        next(batches)
        for _ in range(2):
            with pytest.raises(UserError, match="the disk is gone"):
                next(batches)


def test_the_end_of_the_stream_is_the_end():
    with device_batches(Stream(end_at=3), sharding()) as batches:
        assert len(list(batches)) == 3


def test_close_leaves_no_thread_and_closes_the_stream():
    stream = Stream()
    before = set(threading.enumerate())
    batches = device_batches(stream, sharding())
    next(batches)
    assert set(threading.enumerate()) - before
    batches.close()
    assert stream.closed and not set(threading.enumerate()) - before
    batches.close()
    with pytest.raises(ValueError, match="closed"):
        next(batches)


def test_waiting_is_measured_and_reset():
    release = threading.Event()

    class Slow(Stream):
        def __next__(self):
            release.wait(30)
            return super().__next__()

    with device_batches(Slow(), sharding()) as batches:
        threading.Timer(0.2, release.set).start()
        next(batches)
        assert batches.take_seconds_waited() > 0
        assert batches.take_seconds_waited() == 0


ON_FOUR_DEVICES = """
import sys, jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
sys.path.insert(0, sys.argv[1])
from test_device import Stream
from rats_jax.data.device import device_batches
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
with device_batches(Stream(), NamedSharding(mesh, PartitionSpec("data"))) as batches:
    images, _ = next(batches)
assert images["global"].shape == (4, 2, 6, 6, 3)
assert [shard.data.shape[0] for shard in images["local"].addressable_shards] == [1] * 4
print("sharded")
"""


@pytest.mark.processes
def test_images_are_spread_over_the_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES, os.path.dirname(__file__)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.strip() == "sharded", done.stderr
