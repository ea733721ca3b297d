"""Scores a decoder in JAX on whole images, on the mesh of the run."""

import base64
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.data.subset import evenly
from rats_jax.errors import UserError
from rats_jax.mask_head.network import (
    LabelPrediction,
    LinearNetwork,
    MaskNetwork,
    MaskPrediction,
)
from rats_jax.parallel.distributed import agree, gather
from rats_jax.parallel.mesh import batch_sharding, batch_shards, on_mesh
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment
from rats_jax.runs.online.part_images import reading_threads
from rats_jax.runs.online.spread import Spread, own_rows
from rats_jax.runs.programs import compiled
from rats_jax.segmentation.evaluation import Evaluated, Example
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.pictures import prediction_sheet
from rats_jax.segmentation.resizing import Size, evaluated_size, for_evaluation
from rats_jax.segmentation.scoring import Given, Scorer, from_bytes, open_scorer, to_bytes
from rats_jax.segmentation.segmentation_set import SegmentationSet
from rats_jax.voice import say

MOST_TOGETHER = 8  # images of a batch for each shard of the mesh
PICTURE_SIDE = 160  # pixels: the events of a run of many evaluations stay small
FEW_SIZES = 4  # of images, so few that their programs need no remark


Predicted = MaskPrediction | LabelPrediction


class _Read(NamedTuple):
    """pixels: uint8 [h, w, 3], the image at the size at which it is scored."""

    truth: Segmented
    pixels: np.ndarray


class OnlineScores(Evaluator):
    """The scores on `config.data.test`.

    Every image is predicted at its own size, so that no patch sees padding and scores do not depend
    on the other images of a batch. A program is compiled for each size; images are ordered by size,
    so that most batches have one. patch: of the backbone.

    Attributes:
      data: the images that are scored.
    """

    def __init__(
        self,
        dataset: SegmentationSet,
        network: MaskNetwork | LinearNetwork,
        mesh: Mesh,
        config: ConfigDict,
        *,
        patch: int,
    ):
        evaluation, optimizer = config.evaluation, config.optimizer
        self.data = dataset.limited(evaluation.images)
        self.on = dataset.task
        self._mesh, self._patch = mesh, patch
        self._short, self._long = evaluation.short_side, evaluation.long_side
        share = optimizer.batch_size // optimizer.accumulation // batch_shards(mesh)
        self._spread = Spread(mesh, len(self.data), each=min(max(share, 1), MOST_TOGETHER))
        sizes: list[Size | None] = agree(self._sizes() if jax.process_index() == 0 else None)
        known = {(height, width) for height, width in filter(None, sizes)}
        self._largest = max(sorted(known) or [self._sized((1, 1))], key=math.prod)
        #: the image at each place of the spread
        self._order = np.array(sorted(range(len(sizes)), key=lambda i: sizes[i] or ()), int)
        own = np.sort(self._order[self._spread.own()])
        self._drawn = set(own[evenly(len(own), evaluation.pictures)]) if evaluation.pictures else {}
        self._programs: dict[Size, jax.stages.Compiled] = {}
        if len(known) > FEW_SIZES:
            say(
                f"{self.data.name} has images of {len(known)} sizes: a program is compiled for each"
            )

        def predict(params: dict, images: jax.Array) -> Predicted:
            with on_mesh(mesh):
                return network.predict(params, images)

        self._predict = jax.jit(predict, out_shardings=batch_sharding(mesh))

    @property
    def about(self) -> dict[str, Any]:
        return {
            "data": self.data.name,
            "images": len(self.data),
            "rule": self.data.rule,
            "short_side": self._short,
            "long_side": self._long,
            "fingerprint": self.data.fingerprint(),
        }

    @property
    def names(self) -> list[str]:
        return list(open_scorer(self.data).headers)

    def compile(self, params: dict) -> None:
        """See `Evaluator`. Compiles for the largest images, so that too little memory shows here;
        other programs follow when they are needed."""
        self._program(params, self._largest)

    def measure(self, params: dict, moment: Moment) -> Found:
        """See `Evaluator`."""
        scorer, found = self.score(params, beat=moment.beat, on_error=moment.on_error)
        pictures = {}
        if found.examples:
            sheet = partial(prediction_sheet, found.examples, self.data.classes, side=PICTURE_SIDE)
            pictures["predictions"] = lambda: np.asarray(sheet())
        return Found(scorer.metrics(), len(self.data) - len(scorer), pictures=pictures)

    def score(
        self,
        params: dict,
        *,
        beat: Callable[[], None] = lambda: None,
        on_error: Callable[[UserError], None] = lambda _: None,
    ) -> tuple[Scorer, Evaluated]:
        """The scores of all images, and what was drawn of those of this process. All processes must
        call it. Raises UserError, in all of them, for outputs that are not finite."""
        scorer, left_out, faults = open_scorer(self.data), [], []
        examples: dict[int, Example] = {}

        def leave_out(error: UserError) -> None:
            left_out.append(str(error))
            on_error(error)

        def add(pool: ThreadPoolExecutor, batch: tuple) -> None:
            try:
                examples.update(self._add(scorer, pool, *batch))
            except UserError as error:  # the other processes still wait for this one's images
                faults.append(str(error))

        with reading_threads() as pool:
            before = None
            for start, images in enumerate(self._spread.read(pool, self._read, on_error=leave_out)):
                outputs = self._dispatch(params, images)
                if before is not None:  # scored while the devices compute
                    add(pool, before)
                before = start * self._spread.batch_size, images, outputs
                beat()
            if before is not None:
                add(pool, before)
        if said := [fault for of_process in gather(faults) for fault in of_process]:
            raise UserError(said[0])
        _merge(scorer)
        lines = {line for lines in gather(left_out) for line in lines}
        return scorer, Evaluated([examples[i] for i in sorted(examples)], sorted(lines))

    def _read(self, place: int) -> _Read:
        truth = self.data.sample(int(self._order[place]))
        pixels = for_evaluation(truth.image, self._short, self._long, self._patch)
        return _Read(truth, pixels)

    def _sized(self, size: Size) -> Size:
        """The size at which an image of `size` is scored."""
        sides = {"short_side": self._short, "long_side": self._long}
        return evaluated_size(size, **sides, multiple=self._patch)

    def _sizes(self) -> list[Size | None]:
        """Those at which images are scored, as far as they are known without decoding."""

        def of_image(i: int) -> Size | None:
            size = self.data.size(i)
            return size and self._sized(size)

        with reading_threads() as pool:
            return list(pool.map(of_image, range(len(self.data))))

    def _program(self, params: dict, size: Size) -> jax.stages.Compiled:
        if size not in self._programs:
            images = self._spread.abstract((*size, 3), np.uint8)
            self._programs[size] = compiled(
                self._predict.lower(params, images),
                what=f"the evaluation of images of {size[0]} x {size[1]} pixels",
                remedy="lower config.evaluation.short_side or config.evaluation.long_side",
            )
        return self._programs[size]

    def _dispatch(self, params: dict, images: Mapping[int, _Read]) -> dict[Size, Predicted]:
        """Begins to compute what the model says of a batch, for each size of its images in all
        processes, with black images in the other rows."""
        own = sorted({of.pixels.shape[:2] for of in images.values()})
        sizes = {(height, width) for of_process in gather(own) for height, width in of_process}
        outputs = {}
        for size in sorted(sizes):
            like = self._spread.abstract((*size, 3), np.uint8)
            rows = {row: of.pixels for row, of in images.items() if of.pixels.shape[:2] == size}
            outputs[size] = self._program(params, size)(params, self._spread.put(rows, like))
        return outputs

    def _add(
        self,
        scorer: Scorer,
        pool: ThreadPoolExecutor,
        start: int,
        images: Mapping[int, _Read],
        outputs: Mapping[Size, Predicted],
    ) -> dict[int, Example]:
        """Scores the images of this process; returns those that are drawn, by their number."""
        rows = {
            row: given
            for size, predicted in outputs.items()
            for row, given in _rows(predicted).items()
            if row in images and images[row].pixels.shape[:2] == size
        }

        def of_image(row: int):
            truth = images[row].truth
            prediction = scorer.predict(truth, rows[row])
            return prediction, scorer.measure_prediction(truth, prediction)

        found = {}
        for row, (prediction, measured) in zip(rows, pool.map(of_image, rows), strict=True):
            scorer.add_measured(measured)
            if (i := int(self._order[start + row])) in self._drawn:
                found[i] = Example(images[row].truth, prediction)
        return found


def _rows(predicted: Predicted) -> dict[int, Given]:
    """What a model says of each image of this process, by the row in the batch."""
    if isinstance(predicted, LabelPrediction):
        labels = own_rows(predicted.label_logits)
        return {row: of.transpose(1, 2, 0) for row, of in labels}
    masks = dict(own_rows(predicted.mask_logits))
    return {row: Outputs(of, masks[row]) for row, of in own_rows(predicted.class_logits)}


def _merge(scorer: Scorer) -> None:
    """Adds the images of the other processes."""
    if jax.process_count() > 1:
        texts = gather(base64.b85encode(to_bytes(scorer.state()).tobytes()).decode())
        scorer.merge(from_bytes(np.frombuffer(base64.b85decode(text), np.uint8)) for text in texts)
