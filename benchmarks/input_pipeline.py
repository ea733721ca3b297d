"""Images a second and core of the input pipeline, beside DINO's official one.

.venv-test/bin/python benchmarks/input_pipeline.py [--turns=15] [--images=192]

Photographs of 500x375 are cut from the pictures that scikit-learn and scikit-image ship, written as
JPEG into a temporary folder and read by every side from there (from the page cache). The sides take
turns; what counts is the CPU time of all threads and worker processes, which other work on the
machine disturbs least. The numbers are medians over the turns, the ratios medians of the ratios
within a turn.

The official side is the recipe of `main_dino.py` with Pillow and NumPy: torchvision's transforms
of Pillow images are calls of Pillow.
"""

import argparse
import math
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from rats_jax.data.crops import MultiCrop, random_box
from rats_jax.data.decode import decode_fast
from rats_jax.data.pipeline import open_batches
from rats_jax.data.samples import Canvases, ExactCrops, FastCrops, Samples, _resize
from rats_jax.data.sources import ImageFolder, Source
from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD

SIZE = 500, 375
BATCH = 32
VIEWS = [("global 1", 224), ("global 2", 224)] + [("local", 96)] * 10
CROPS = MultiCrop(
    global_size=224,
    local_size=96,
    local_crops=10,
    global_scale=(0.25, 1.0),
    local_scale=(0.05, 0.25),
)
SCALES = {224: (0.25, 1.0), 96: (0.05, 0.25)}


def write_photographs(folder: Path, count: int, size: tuple[int, int] = SIZE) -> None:
    """Random parts of the packages' pictures, JPEG quality 90: some 60 kB each at 500x375."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    pictures = [*load_sample_images().images]
    pictures += [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")]
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = Image.fromarray(pictures[i % len(pictures)])
        larger = max(size[0] / picture.width, size[1] / picture.height) * rng.uniform(1, 1.4)
        picture = picture.resize([math.ceil(larger * side) for side in picture.size], Image.BICUBIC)
        left, top = (int(rng.integers(a - b + 1)) for a, b in zip(picture.size, size, strict=True))
        picture.crop((left, top, left + size[0], top + size[1])).save(
            folder / f"{i:05}.jpg", quality=90
        )


class AsImageNet:
    """A folder's images over and over, as many as ImageNet has: grain shuffles sets of less than
    some thousand images slowly."""

    def __init__(self, source: ImageFolder):
        self._source = source

    def __len__(self) -> int:
        return 1_281_167

    def __getitem__(self, index: int, /) -> tuple[bytes | np.ndarray, int]:
        return self._source[index % len(self._source)]


class Official:
    """DataAugmentationDINO with Pillow."""

    def __init__(self, source: Source):
        import io

        self._open = lambda data: Image.open(io.BytesIO(data)).convert("RGB")
        self._source = source
        self._rng = np.random.default_rng(0)

    def __call__(self, count: int) -> None:
        for i in range(count):
            image = self._open(self._source[i][0])
            for view, size in VIEWS:
                self._view(image, view, size)

    def _view(self, image: Image.Image, view: str, size: int) -> np.ndarray:
        box = random_box(image.size, self._rng, scale=SCALES[size])
        image = image.crop(box).resize((size, size), Image.BICUBIC)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < 0.8:
            image = self._jitter(image)
        if random.random() < 0.2:
            gray = image.convert("L")
            image = Image.merge("RGB", (gray, gray, gray))
        if random.random() < {"global 1": 1.0, "global 2": 0.1, "local": 0.5}[view]:
            image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
        if view == "global 2" and random.random() < 0.2:
            image = ImageOps.solarize(image)
        planes = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C") / 255
        mean, std = (np.float32(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
        return (planes - mean) / std

    @staticmethod
    def _jitter(image: Image.Image) -> Image.Image:
        def hue(image: Image.Image) -> Image.Image:
            h, s, v = image.convert("HSV").split()
            turned = np.asarray(h) + np.uint8(int(random.uniform(-0.1, 0.1) * 255) % 256)
            return Image.merge("HSV", (Image.fromarray(turned), s, v)).convert("RGB")

        operations = [
            lambda x: ImageEnhance.Brightness(x).enhance(random.uniform(0.6, 1.4)),
            lambda x: ImageEnhance.Contrast(x).enhance(random.uniform(0.6, 1.4)),
            lambda x: ImageEnhance.Color(x).enhance(random.uniform(0.8, 1.2)),
            hue,
        ]
        random.shuffle(operations)
        for operation in operations:
            image = operation(image)
        return image


class DecodeOnly:
    """Reading and decoding, by the decoder of the fast ways: the floor of canvas mode."""

    def __init__(self, source: Source):
        self._source = source

    def __call__(self, count: int) -> None:
        for i in range(count):
            decode_fast(self._source[i][0])


class DecodeAndResize:
    """Reading, decoding, and twelve calls of the resampler on boxes known beforehand, the crops
    dropped: the floor of crop mode."""

    def __init__(self, source: Source):
        self._source = source
        rng = np.random.default_rng(0)
        self._boxes = [
            [(random_box(SIZE, rng, scale=SCALES[size]), size) for _, size in VIEWS]
            for _ in range(64)
        ]

    def __call__(self, count: int) -> None:
        for i in range(count):
            pixels = decode_fast(self._source[i][0])
            for (left, top, right, bottom), size in self._boxes[i % 64]:
                _resize(pixels[top:bottom, left:right], (size, size))


class Ours:
    """`open_batches` as in training, with one lane."""

    def __init__(self, source: Source, samples: Samples, workers: int):
        self._stream = open_batches(
            source,
            samples=samples,
            seed=0,
            batch_size=BATCH,
            start_step=0,
            workers=workers,
            threads=1,
        )

    def __call__(self, count: int) -> None:
        for _ in range(count // BATCH):
            next(self._stream)
        # The lane goes on until its buffers are full again, as they were before the turn.
        before = -1.0
        while (now := cpu_seconds()) - before > 0.02:
            before = now
            time.sleep(0.2)


def cpu_seconds() -> float:
    """Of this process and of its workers (Linux)."""
    # The clock of another process: see clock_getcpuclockid(3).
    workers = (child.pid for child in multiprocessing.active_children())
    return time.process_time() + sum(time.clock_gettime(~pid << 3 | 2) for pid in workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--images", type=int, default=192, help="a turn; of each side")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), 64)
        source = AsImageNet(ImageFolder(folder))
        sides = {
            "official (Pillow), with colour work": Official(source),
            "ours, exact, 1 worker": Ours(source, ExactCrops(CROPS), 1),
            "ours, fast, 1 thread": Ours(source, FastCrops(CROPS), 0),
            "ours, fast, 1 worker": Ours(source, FastCrops(CROPS), 1),
            "ours, canvas, 1 thread": Ours(source, Canvases(CROPS, size=512), 0),
            "ours, canvas, 1 worker": Ours(source, Canvases(CROPS, size=512), 1),
            "decode and resize alone": DecodeAndResize(source),
            "decode alone": DecodeOnly(source),
        }
        seconds = {name: [] for name in sides}
        for turn in range(-1, arguments.turns):
            for name, side in sides.items():
                side(BATCH)  # the kernel may have taken back what lay idle
                start = cpu_seconds()
                side(arguments.images)
                if turn >= 0:  # the first warms up
                    seconds[name].append((cpu_seconds() - start) / arguments.images)
    times = {name: np.array(values) for name, values in seconds.items()}

    official = times["official (Pillow), with colour work"]
    print(f"{'':38}{'ms CPU/image':>14}{'images/s/core':>15}{'x official':>12}")
    for name, values in times.items():
        each = np.median(values)
        ratio = np.median(official / values)
        print(f"{name:38}{1000 * each:14.2f}{1 / each:15.0f}{ratio:12.1f}")
    for cropping, floor in (("fast", "decode and resize alone"), ("canvas", "decode alone")):
        for lane in ("1 thread", "1 worker"):
            share = np.median(times[floor] / times[f"ours, {cropping}, {lane}"])
            print(f"{cropping}, {lane}: {share:.0%} of what {floor} would allow")


if __name__ == "__main__":
    main()
