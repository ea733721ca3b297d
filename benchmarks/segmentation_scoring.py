"""CPU time and memory of predictions and scores of segmentation, beside the usual way in PyTorch.

.venv-test/bin/python benchmarks/segmentation_scoring.py [--turns=5]

The outputs are those of 100 queries, whose masks are discs: of 150 classes for an image of 683x512
(as ADE20K), and of 80 classes for one of 1333x800 and of 640x480 (as COCO). Both sides run on one
thread; the numbers are medians of CPU milliseconds over the turns. Memory is the peak of a process
that runs one side once, above what it had before. Linux only.

The usual way resizes the masks of all queries, as the published code of Mask2Former does.
"""

import argparse
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import torch

from rats_jax.parts.bootstrap import RESAMPLES
from rats_jax.segmentation.average_precision import PrecisionTable
from rats_jax.segmentation.coco_matching import AREAS, THRESHOLDS, Matched
from rats_jax.segmentation.instance_scores import InstanceScorer
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.predictions import instances, semantic
from rats_jax.segmentation.semantic_scores import SemanticScorer

QUERIES = 100
ADE20K, COCO, COCO_FILE = (512, 683), (800, 1333), (480, 640)


def discs(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Logits, float32 [count, h, w], positive in a disc of 3 to 20 % of the height."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    center, radius = rng.uniform(0, size, (count, 2)), rng.uniform(0.03, 0.2, count) * size[0]
    return np.stack(
        [
            8 - 8 * (((y - down) ** 2 + (x - across) ** 2) / r**2).clip(0, 2.5)
            for (down, across), r in zip(center, radius, strict=True)
        ]
    ).astype(np.float32)


def outputs(size: tuple[int, int], classes: int) -> Outputs:
    """Masks at a quarter of the resolution."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (QUERIES, classes + 1)).astype(np.float32)
    return Outputs(logits, discs(QUERIES, (size[0] // 4, -(-size[1] // 4))))


def usual_masks(given: Outputs, size: tuple[int, int]) -> torch.Tensor:
    masks = torch.from_numpy(given.mask_logits)[None]
    return torch.nn.functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)[
        0
    ]


def usual_semantic(given: Outputs, size: tuple[int, int]) -> torch.Tensor:
    classes = torch.from_numpy(given.class_logits).softmax(-1)[:, :-1]
    return torch.einsum("qc,qhw->chw", classes, usual_masks(given, size).sigmoid()).argmax(0)


def usual_instances(given: Outputs, size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    classes = torch.from_numpy(given.class_logits).softmax(-1)[:, :-1]
    scores, places = classes.flatten().topk(QUERIES)
    masks = usual_masks(given, size)[places // classes.shape[1]]
    inside = (masks > 0).float()
    sums = (masks.sigmoid() * inside).sum((1, 2))
    return scores * sums / (inside.sum((1, 2)) + 1e-6), places % classes.shape[1], inside > 0


def semantic_scoring() -> Callable[[], object]:
    rng = np.random.default_rng(2)
    scorer = SemanticScorer("ADE20K", [str(i) for i in range(150)])
    labels, found = (rng.integers(0, 150, (32, 43)).repeat(16, 0).repeat(16, 1) for _ in range(2))
    truth = Segmented(np.zeros(0), labels.astype(np.int16), None, None, None, "a")
    return lambda: scorer.measure_prediction(truth, found.astype(np.int16))


def instance_scoring() -> Callable[[], object]:
    rng = np.random.default_rng(3)
    scorer = InstanceScorer("COCO", [str(i) for i in range(80)])
    masks, image = discs(7, COCO_FILE, 4) > 0, np.zeros((*COCO_FILE, 3), np.uint8)
    categories = rng.integers(0, 80, 7).astype(np.int16)
    truth = Segmented(image, None, masks, categories, np.zeros(7, bool), "a")
    found = instances(outputs(COCO_FILE, 80), COCO_FILE)
    return lambda: scorer.measure_prediction(truth, found)


def sides() -> dict[str, Callable[[], Callable[[], object]]]:
    """Row -> what makes its work."""

    def predicting(function: Callable, size: tuple[int, int], classes: int) -> Callable:
        def made() -> Callable[[], object]:
            given = outputs(size, classes)
            return lambda: function(given, size)

        return made

    found = {}
    for name, function in (("here", semantic), ("usual", usual_semantic)):
        found[f"semantic, 683x512, {name}"] = predicting(function, ADE20K, 150)
    for size in (COCO, COCO_FILE):
        for name, function in (("here", instances), ("usual", usual_instances)):
            row = f"instances, {size[1]}x{size[0]}, {name}"
            found[row] = predicting(function, size, 80)
    found["counting pixels, 688x512"] = semantic_scoring
    found["matching instances, 640x480"] = instance_scoring
    return found


def peak(row: str) -> float:
    """Megabytes above those before, of running a side once in this process."""
    torch.set_num_threads(1)
    work = sides()[row]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is in use
    before = _peak_so_far()
    work()
    return _peak_so_far() - before


def _peak_so_far() -> float:
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1024


def like_coco(images: int = 5000, seed: int = 0) -> list[Matched]:
    """100 predictions and seven instances in each image."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(images):
        categories = np.sort(rng.exponential(8, QUERIES).astype(np.int32).clip(0, 79))
        right = np.zeros((QUERIES, len(AREAS), THRESHOLDS), bool)
        for place, upto in zip(rng.choice(40, 6), rng.integers(1, 11, 6), strict=True):
            right[place, :, :upto] = True
        ignored = np.zeros_like(right)
        ignored[:, 1:] = rng.random((QUERIES, len(AREAS) - 1, 1)) < 0.66
        true = np.unique(rng.choice(categories, 7))
        counts = np.tile(rng.integers(1, 3, (len(true), 1)), len(AREAS)).astype(np.int32)
        scores = -np.sort(-rng.random(QUERIES).astype(np.float32))
        found.append(Matched(categories, scores, right, ignored, true, counts))
    return found


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    work = {row: make() for row, make in sides().items()}
    taken = {row: [] for row in work}
    for turn in range(turns + 1):  # the first is not counted
        for row, of_row in work.items():
            seconds = cpu(of_row)
            taken[row] += [seconds] * (turn > 0)
    print("| what | CPU ms | MB |\n|---|---|---|")
    for row, seconds in taken.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(f"| {row} | {1000 * np.median(seconds):.0f} | {pool.apply(peak, (row,)):.0f} |")
    table = PrecisionTable(like_coco(), 80)
    once = cpu(lambda: table.scores(np.ones((1, table.images))))
    drawn = np.random.default_rng(0).multinomial(5000, np.full(5000, 1 / 5000), 100)
    hundred = cpu(lambda: table.scores(drawn.astype(np.float64)))
    print(
        f"\nScores of 5,000 images with 500,000 predictions, of masks or of boxes: {once:.2f} s; "
        f"{RESAMPLES:,} resamples of them: {hundred * RESAMPLES / 100:.0f} s."
    )


if __name__ == "__main__":
    main()
