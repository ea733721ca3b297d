"""Scores of a model on whole images, over all processes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from rats_jax.finetuning.mask2former.processes import Processes
from rats_jax.segmentation.datasets import SegmentationSet
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.resizing import for_evaluation
from rats_jax.segmentation.scoring import Scorer, open_scorer

THREADS = 8  # at most, that read and score images


class Seen(NamedTuple):
    """An image with its truth, and what the model says of it."""

    truth: Segmented
    outputs: Outputs


class Scored(NamedTuple):
    """scorer: of all images, the same in all processes. seen: the images to draw, in the first
    process."""

    scorer: Scorer
    seen: list[Seen]


class Evaluation:
    """Scores models on the images of `config.data.test`.

    Attributes:
      about: what is measured, so that only comparable scores are compared.
    """

    def __init__(
        self,
        dataset: SegmentationSet,
        config: ConfigDict,
        processes: Processes,
        *,
        beat: Callable[[], None] = lambda: None,
    ):
        """dataset: with all its images. beat: is called after each image."""
        fields = config.evaluation
        self.dataset = dataset.limited(fields.images)
        self._processes, self._beat = processes, beat
        self._size = {"short_side": fields.short_side, "long_side": fields.long_side}
        self._pictures = min(fields.pictures, len(self.dataset))
        self.about = {
            "images": len(self.dataset),
            "fingerprint": self.dataset.fingerprint(),
            **self._size,
        }

    @torch.no_grad()
    def score(self, model: nn.Module) -> Scored:
        """All processes call it; each scores its share. model: as `model.make_model`, not wrapped
        for several processes."""
        scorer, seen = open_scorer(self.dataset), []
        model.eval()
        with ThreadPoolExecutor(min(os.cpu_count() or 1, THREADS)) as pool:
            measured: deque[Future] = deque()
            for i, truth, image in self._images(pool, model.multiple):
                class_logits, mask_logits, _ = model(_on(self._processes.device, image))
                outputs = class_logits[0].float(), mask_logits[0].float()
                measured.append(self._measure(pool, scorer, truth, outputs))
                if i in self._drawn():
                    seen.append((i, Seen(truth, _outputs(outputs))))
                while measured and (measured[0].done() or len(measured) > 2 * THREADS):
                    scorer.add_measured(measured.popleft().result())
                self._beat()
            for future in measured:
                scorer.add_measured(future.result())
        return Scored(self._merged(scorer), self._all_seen(seen))

    def _images(
        self, pool: ThreadPoolExecutor, multiple: int
    ) -> Iterator[tuple[int, Segmented, np.ndarray]]:
        """The images of this process, with their numbers, as the model takes them. multiple: of
        their sides."""

        def read(i: int) -> tuple[int, Segmented, np.ndarray]:
            truth = self.dataset.sample(i)
            return i, truth, for_evaluation(truth.image, **self._size, multiple=multiple)

        own = range(self._processes.number, len(self.dataset), self._processes.count)
        yield from _ahead(pool, read, own, most=2 * THREADS)

    def _measure(
        self,
        pool: ThreadPoolExecutor,
        scorer: Scorer,
        truth: Segmented,
        outputs: tuple[Tensor, Tensor],
    ) -> Future:
        """On a GPU, the classes of pixels are found there."""
        if self._processes.device.type != "cpu" and truth.labels is not None:
            labels = semantic_labels(*outputs, truth.labels.shape).cpu().numpy()
            return pool.submit(scorer.measure_labels, truth, labels)
        return pool.submit(scorer.measure, truth, _outputs(outputs))

    def _drawn(self) -> set[int]:
        """The numbers of the images that are drawn, evenly spread."""
        return {k * len(self.dataset) // self._pictures for k in range(self._pictures)}

    def _merged(self, scorer: Scorer) -> Scorer:
        states = self._processes.gather(scorer.state())
        scorer.merge(s for number, s in enumerate(states) if number != self._processes.number)
        return scorer

    def _all_seen(self, own: list[tuple[int, Seen]]) -> list[Seen]:
        everyone = [pair for pairs in self._processes.gather(own) for pair in pairs]
        return [seen for _, seen in sorted(everyone, key=lambda pair: pair[0])]


def semantic_labels(class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """As `segmentation.predictions.semantic`, on the device of the logits: int16 [h, w]. Rows are
    classified in blocks, so that the scores of all classes are never in memory together."""
    classes = class_logits.softmax(-1)[:, :-1]
    masks = functional.interpolate(mask_logits[None], size, mode="bilinear", align_corners=False)
    blocks = masks[0].sigmoid().split(64, dim=1)
    labels = [torch.einsum("qc,qhw->chw", classes, block).argmax(0) for block in blocks]
    return torch.cat(labels).to(torch.int16)


def _on(device: torch.device, image: np.ndarray) -> Tensor:
    """uint8 [h, w, 3] -> float32 [1, 3, h, w]."""
    return torch.tensor(image).to(device).permute(2, 0, 1)[None].float()


def _outputs(outputs: tuple[Tensor, Tensor]) -> Outputs:
    return Outputs(*(each.cpu().numpy() for each in outputs))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Any], Any], tasks: Iterable, *, most: int
) -> Iterator:
    """The results of tasks in their order; at most `most` are worked on ahead."""
    waiting: deque[Future] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
