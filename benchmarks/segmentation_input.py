"""Images a second and core of the input of segmentation, beside the usual way with Pillow.

.venv-test/bin/python benchmarks/segmentation_input.py [--turns=9] [--images=48] [--rows=PATTERN]

Two data sets are made in a temporary folder and read from there (from the page cache): photographs
of 683x512 with label maps of 150 classes, as ADE20K, and of 640x480 with seven objects, as COCO.
The sides take turns; what counts is the CPU time of all threads, as in input_pipeline.py. The
numbers are medians over the turns, the ratio is the median of the ratios within a turn.

The usual way is what a data set of torch does with Pillow, NumPy and pycocotools: the whole image
and the whole masks are resized, then cropped, and colours change in steps as in MMSegmentation.
"""

import argparse
import contextlib
import io
import json
import re
import tempfile
import time
from pathlib import Path

import numpy as np
from input_pipeline import AsImageNet, cpu_seconds, write_photographs
from PIL import Image
from pycocotools.coco import COCO

from rats_jax.data.pipeline import open_batches
from rats_jax.segmentation.datasets import SegmentationSource, open_segmentation
from rats_jax.segmentation.samples import InstanceSamples, SemanticSamples

BATCH, COUNT = 8, 40
ADE20K, COCO_SIZE = (683, 512), (640, 480)
OBJECTS, CORNERS = 7, 30
SEMANTIC = SemanticSamples(crop=512)
INSTANCES = InstanceSamples(crop=1024)
BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


def write_ade20k(root: Path) -> None:
    """Photographs with some twenty segments of alike colours, each of a random class."""
    from skimage.segmentation import slic

    images, masks = (root / of / "training" for of in ("images", "annotations"))
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    write_photographs(images, COUNT, ADE20K)
    rng = np.random.default_rng(0)
    for file in images.iterdir():
        small = np.asarray(Image.open(file).resize((171, 128)))
        segments = slic(small, n_segments=20, compactness=5, start_label=0)
        classes = rng.integers(0, 151, segments.max() + 1).astype(np.uint8)
        mask = Image.fromarray(classes[segments]).resize(ADE20K, NEAREST)
        mask.save(masks / f"{file.stem}.png")


def write_coco(root: Path) -> None:
    """Photographs with round objects of 30 corners, from 20 to 200 pixels wide."""
    images = root / "train2017"
    images.mkdir(parents=True)
    write_photographs(images, COUNT, COCO_SIZE)
    rng = np.random.default_rng(0)
    width, height = COCO_SIZE
    records, annotations = [], []
    for number, file in enumerate(sorted(images.iterdir())):
        records.append({"id": number, "file_name": file.name, "height": height, "width": width})
        for _ in range(OBJECTS):
            angles = np.sort(rng.uniform(0, 2 * np.pi, CORNERS))
            radii = rng.uniform(10, 100) * rng.uniform(0.7, 1, CORNERS)
            corners = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
            corners = (corners + rng.uniform(0, COCO_SIZE)).clip(0, COCO_SIZE).round(2)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(rng.integers(1, 81)),
                    "segmentation": [corners.ravel().tolist()],
                    "iscrowd": 0,
                }
            )
    content = {"images": records, "annotations": annotations}
    content["categories"] = [{"id": id, "name": f"class {id}"} for id in range(1, 81)]
    (root / "annotations").mkdir()
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))


class Ours:
    """`open_batches` as in training, with one thread."""

    def __init__(self, spec: str, samples):
        task = "semantic" if isinstance(samples, SemanticSamples) else "instance"
        source = AsImageNet(SegmentationSource(open_segmentation(spec, task=task)))
        self._stream = open_batches(
            source,
            samples=samples,
            seed=0,
            batch_size=BATCH,
            start_step=0,
            workers=0,
            threads=1,
        )

    def __call__(self, count: int) -> None:
        for _ in range(count // BATCH):
            next(self._stream)
        # The thread continues until its buffers are full again, as they were before the turn.
        before = -1.0
        while (now := cpu_seconds()) - before > 0.02:
            before = now
            time.sleep(0.2)


class UsualSemantic:
    """A data set of ADE20K with Pillow."""

    def __init__(self, root: Path):
        self._files = sorted((root / "images/training").iterdir())
        self._masks = root / "annotations/training"
        self._rng = np.random.default_rng(0)

    def __call__(self, count: int) -> None:
        for i in range(count):
            self._sample(self._files[i % len(self._files)])

    def _sample(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        rng, side = self._rng, 512
        image = Image.open(file).convert("RGB")
        mask = Image.open(self._masks / f"{file.stem}.png")
        short = side * rng.uniform(0.5, 2)
        factor = min(short / min(image.size), 2048 / max(image.size))
        size = tuple(round(length * factor) for length in image.size)
        image, mask = image.resize(size, BILINEAR), mask.resize(size, NEAREST)
        for _ in range(10):
            left, top = (int(rng.integers(max(length - side, 0) + 1)) for length in size)
            box = left, top, min(left + side, size[0]), min(top + side, size[1])
            ids, counts = np.unique(np.asarray(mask.crop(box)), return_counts=True)
            counts = counts[ids != 0]
            if len(counts) > 1 and counts.max() / counts.sum() < 0.75:
                break
        image, mask = image.crop(box), mask.crop(box)
        if rng.random() < 0.5:
            image, mask = (x.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for x in (image, mask))
        pixels = self._colours(np.asarray(image))
        whole = np.zeros((side, side, 3), np.uint8)
        labels = np.full((side, side), -1, np.int16)
        whole[: pixels.shape[0], : pixels.shape[1]] = pixels
        labels[: pixels.shape[0], : pixels.shape[1]] = np.asarray(mask).astype(np.int16) - 1
        return whole, labels

    def _colours(self, pixels: np.ndarray) -> np.ndarray:
        rng = self._rng

        def convert(x: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
            return np.clip(x.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)

        if rng.random() < 0.5:
            pixels = convert(pixels, beta=rng.uniform(-32, 32))
        first = rng.random() < 0.5
        if first and rng.random() < 0.5:
            pixels = convert(pixels, rng.uniform(0.5, 1.5))
        for band in (1, 0):  # saturation, then hue
            if rng.random() < 0.5:
                hsv = np.array(Image.fromarray(pixels).convert("HSV"))
                if band:
                    hsv[..., 1] = convert(hsv[..., 1], rng.uniform(0.5, 1.5))
                else:
                    hsv[..., 0] += np.uint8(rng.integers(-26, 27) % 256)
                pixels = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
        if not first and rng.random() < 0.5:
            pixels = convert(pixels, rng.uniform(0.5, 1.5))
        return pixels


class UsualInstances:
    """A data set of COCO with Pillow and pycocotools."""

    def __init__(self, root: Path):
        self._images = root / "train2017"
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco = COCO(str(root / "annotations/instances_train2017.json"))
        self._ids = sorted(self._coco.imgs)
        self._rng = np.random.default_rng(0)

    def __call__(self, count: int) -> None:
        for i in range(count):
            self._sample(self._ids[i % len(self._ids)])

    def _sample(self, id: int) -> tuple[np.ndarray, np.ndarray]:
        rng, side = self._rng, 1024
        image = Image.open(self._images / self._coco.imgs[id]["file_name"]).convert("RGB")
        annotations = self._coco.loadAnns(self._coco.getAnnIds(id))
        masks = [Image.fromarray(self._coco.annToMask(annotation)) for annotation in annotations]
        factor = side * rng.uniform(0.1, 2) / max(image.size)
        size = tuple(max(round(length * factor), 1) for length in image.size)
        left, top = (int(rng.integers(max(length - side, 0) + 1)) for length in size)
        box = left, top, min(left + side, size[0]), min(top + side, size[1])
        image = image.resize(size, BILINEAR).crop(box)
        masks = [mask.resize(size, NEAREST).crop(box) for mask in masks]
        if rng.random() < 0.5:
            flip = Image.Transpose.FLIP_LEFT_RIGHT
            image, masks = image.transpose(flip), [mask.transpose(flip) for mask in masks]
        whole = np.zeros((side, side, 3), np.uint8)
        whole[: image.height, : image.width] = np.asarray(image)
        stacked = np.zeros((len(masks), side, side), bool)
        for place, mask in enumerate(masks):
            stacked[place, : image.height, : image.width] = np.asarray(mask)
        return whole, stacked[stacked.any((1, 2))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--images", type=int, default=48, help=f"a turn, a multiple of {BATCH}")
    parser.add_argument("--rows", default="", help="a regular expression: ADE20K or COCO")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        ade20k, coco = Path(temporary, "ade20k"), Path(temporary, "coco")
        write_ade20k(ade20k)
        write_coco(coco)
        sides = {
            "ADE20K, 512": (
                Ours(f"ade20k:{ade20k}/images/training", SEMANTIC),
                UsualSemantic(ade20k),
            ),
            "COCO, 1024": (
                Ours(f"coco-instances:{coco}/train2017", INSTANCES),
                UsualInstances(coco),
            ),
        }
        sides = {name: of for name, of in sides.items() if re.search(arguments.rows, name)}
        print(f"{'':14}{'ms CPU/image':>14}{'images/s/core':>15}{'usual':>8}{'ratio':>7}")
        for name, of in sides.items():
            times = measure(of, turns=arguments.turns, images=arguments.images)
            ours, usual = np.median(times, 0)
            ratio = np.median(times[:, 1] / times[:, 0])
            print(f"{name:14}{1000 * ours:14.2f}{1 / ours:15.0f}{1 / usual:8.0f}{ratio:7.1f}")


def measure(sides: tuple, *, turns: int, images: int) -> np.ndarray:
    """Seconds of CPU an image, float64 [turns, sides]."""
    seconds = np.zeros((turns + 1, len(sides)))
    for turn in range(turns + 1):
        for place, side in enumerate(sides):
            start = cpu_seconds()
            side(images)
            seconds[turn, place] = (cpu_seconds() - start) / images
    return seconds[1:]  # the first warms up


if __name__ == "__main__":
    main()
