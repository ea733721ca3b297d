"""A long run's worth of batches leaves memory and file handles as they were."""

import gc
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from rats_jax.data.crops import MultiCrop
from rats_jax.data.device import device_batches
from rats_jax.data.pipeline import open_batches
from rats_jax.data.samples import Canvases, FastCrops
from rats_jax.data.sources import ImageFolder

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
CROPS = MultiCrop(
    global_size=8, local_size=8, local_crops=1, global_scale=(0.25, 1), local_scale=(0.05, 0.25)
)
IMAGES = 5000
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Many tiny images, one in a hundred bad."""
    folder = tmp_path_factory.mktemp("soak") / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (IMAGES, 10, 12, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        path = folder / f"{i:04}.{'png' if i % 2 else 'jpg'}"
        if i % 100:
            Image.fromarray(pixels).save(path)
        else:
            path.write_bytes(b"damaged")
    return folder


def processes() -> list[int]:
    """This process and its children."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return [me, *map(int, children)]


def resident() -> int:
    gc.collect()
    status = [Path(f"/proc/{p}/statm").read_text().split() for p in processes()]
    return sum(int(pages[1]) for pages in status) * os.sysconf("SC_PAGE_SIZE")


def handles() -> int:
    return sum(len(os.listdir(f"/proc/{p}/fd")) for p in processes())


@contextmanager
def opened(source, samples, workers: int):
    stream = open_batches(
        source, samples=samples, seed=0, batch_size=2, start_step=0, workers=workers, threads=2
    )
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with device_batches(stream, sharding) as ready:
        yield ready


def soak(source, samples, *, workers: int, batches: int) -> None:
    """Takes `batches` batches from the source to the device, and looks at what grows meanwhile."""
    with opened(source, samples, workers) as ready:
        next(ready)  # multiprocessing keeps a process, and small blocks of memory, for reuse
    gc.collect()
    before = set(threading.enumerate()), handles(), processes()
    with opened(source, samples, workers) as ready:
        for _ in range(batches // 5):  # caches, arenas and lazily opened files are settled
            next(ready)
        time.sleep(0.5)  # the buffers are full then, and no lane reads a file
        settled, open_now = resident(), handles()
        for _ in range(batches - batches // 5):
            next(ready)
        time.sleep(0.5)
        assert resident() - settled < 12 * MEBIBYTE
        assert handles() == open_now
    del ready
    gc.collect()
    assert set(threading.enumerate()) <= before[0]
    assert processes() == before[2]
    assert handles() <= before[1] + 2  # one more such block


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.processes)])
def test_thousands_of_batches_leave_nothing_behind(folder, workers):
    soak(ImageFolder(folder), FastCrops(CROPS), workers=workers, batches=4000)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.processes)])
@pytest.mark.parametrize("samples", [FastCrops(CROPS), Canvases(CROPS, size=16)])
def test_a_hundred_thousand_batches_leave_nothing_behind(folder, samples, workers):
    soak(ImageFolder(folder), samples, workers=workers, batches=100_000)
