"""Scores of a model on whole images, over all processes."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.processes import Processes
from rats_jax.segmentation.datasets import SegmentationSet
from rats_jax.segmentation.evaluation import Evaluated, evaluate
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.scoring import Prediction, Scorer, open_scorer

Logits = tuple[Tensor, Tensor]  # of classes, float32 [Q, C + 1], and of masks, float32 [Q, h, w]


class Scored(NamedTuple):
    """scorer, found: of all images, the same in all processes."""

    scorer: Scorer
    found: Evaluated


class Interrupted(Exception):
    """A process was asked to stop while a model was scored."""


class Evaluation:
    """Scores models on the images of `config.data.test`.

    Attributes:
      dataset: the images.
      about: what is measured, so that only comparable scores are compared.
    """

    def __init__(
        self,
        dataset: SegmentationSet,
        config: ConfigDict,
        processes: Processes,
        *,
        beat: Callable[[], None] = lambda: None,
        stops: Callable[[], object] = lambda: None,
    ):
        """dataset: with all its images. beat: is called after each image. stops: whether this
        process was asked to stop."""
        fields = config.evaluation
        self.dataset = dataset.limited(fields.images)
        self._processes, self._beat, self._stops = processes, beat, stops
        self._sides = {"short_side": fields.short_side, "long_side": fields.long_side}
        self._pictures = min(fields.pictures, len(self.dataset))
        self.about = {
            "images": len(self.dataset),
            "fingerprint": self.dataset.fingerprint(),
            **self._sides,
        }

    def score(self, model: nn.Module) -> Scored:
        """All processes call it; each scores its share. model: as `model.make_model`, not wrapped
        for several processes. Raises Interrupted, in all processes, if one was asked to stop."""
        return self._score(model, self.dataset)

    def try_out(self, model: nn.Module) -> int:
        """Scores a few images, so that a fault shows before the first step, and returns how many.
        Raises as `score`."""
        return len(self._score(model, self.dataset.limited(max(self._pictures, 1))).scorer)

    @torch.no_grad()
    def _score(self, model: nn.Module, dataset: SegmentationSet) -> Scored:
        model.eval()
        number, count, device = (
            self._processes.number,
            self._processes.count,
            self._processes.device,
        )

        def predict(pixels: np.ndarray) -> Logits:
            images = torch.tensor(pixels).to(device).permute(2, 0, 1)[None].float()
            class_logits, mask_logits, _ = model(images)
            return class_logits[0].float(), mask_logits[0].float()

        def beat() -> None:
            self._beat()
            if self._stops():
                raise Interrupted

        scorer, own = open_scorer(dataset), None
        with suppress(Interrupted):
            own = evaluate(
                dataset,
                predict,
                _OnDevice(scorer),
                **self._sides,
                multiple=model.multiple,
                beat=beat,
                indices=range(number, len(dataset), count),
                examples=[k * len(dataset) // self._pictures for k in range(self._pictures)],
            )
        everyone = self._processes.gather(own and (scorer.state(), own.examples, own.left_out))
        if None in everyone:
            raise Interrupted
        scorer.merge(state for i, (state, *_) in enumerate(everyone) if i != number)
        examples = [each for _, of, _ in everyone for each in of]
        left_out = [line for *_, of in everyone for line in of]
        examples.sort(key=lambda example: example.truth.name)
        return Scored(scorer, Evaluated(examples, sorted(left_out)))


class _OnDevice:
    """A scorer that takes logits as tensors; on a GPU, the classes of pixels are found there."""

    def __init__(self, scorer: Scorer):
        self._scorer = scorer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)

    @torch.no_grad()
    def predict(self, truth: Segmented, given: Logits) -> Prediction:
        if given[0].device.type != "cpu" and truth.labels is not None:
            return semantic_labels(*given, truth.labels.shape, name=truth.name)
        return self._scorer.predict(truth, Outputs(*(each.cpu().numpy() for each in given)))


def semantic_labels(
    class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int], *, name: str
) -> np.ndarray:
    """As `segmentation.predictions.semantic`, on the device of the logits: int16 [h, w]. Rows are
    classified in blocks, so that the scores of all classes are never in memory together. Raises
    UserError with the name of the image for logits that are not finite."""
    if not all(bool(each.isfinite().all()) for each in (class_logits, mask_logits)):
        raise UserError(
            f"{name}: the outputs of the model are not finite: training has diverged; resume from "
            "an earlier checkpoint with a lower optimizer.learning_rate"
        )
    classes = class_logits.softmax(-1)[:, :-1]
    masks = functional.interpolate(mask_logits[None], size, mode="bilinear", align_corners=False)
    blocks = masks[0].sigmoid().split(64, dim=1)
    labels = [torch.einsum("qc,qhw->chw", classes, block).argmax(0) for block in blocks]
    return torch.cat(labels).to(torch.int16).cpu().numpy()
