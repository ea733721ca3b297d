"""Scores a decoder in JAX on whole images, on the mesh of the run."""

import base64
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
from rats_jax.parallel.distributed import gather
from rats_jax.parallel.mesh import batch_sharding, batch_shards, on_mesh
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment
from rats_jax.runs.online.part_images import reading_threads
from rats_jax.runs.online.spread import Spread, own_rows
from rats_jax.runs.programs import compiled
from rats_jax.segmentation.evaluation import Evaluated, Example
from rats_jax.segmentation.interface import Outputs, Segmented
from rats_jax.segmentation.pictures import prediction_sheet
from rats_jax.segmentation.resizing import for_evaluation, off_canvas, on_canvas
from rats_jax.segmentation.scoring import Given, Scorer, from_bytes, open_scorer, to_bytes
from rats_jax.segmentation.segmentation_set import SegmentationSet

MOST_TOGETHER = 8  # images of a batch for each shard of the mesh
PICTURE_SIDE = 160  # pixels: the events of a run of many evaluations stay small


class _Read(NamedTuple):
    """pixels: uint8 [h, w, 3], the image at the size at which it is scored."""

    truth: Segmented
    pixels: np.ndarray


class OnlineScores(Evaluator):
    """The scores on `config.data.test`.

    An image is placed in the upper left corner of a black square, whose side is one of few, so that
    few programs are compiled. A batch has the smallest square for its largest image. patch: of the
    backbone.

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
        own = self._spread.own()
        self._drawn = set(own[evenly(len(own), evaluation.pictures)]) if evaluation.pictures else {}
        self._programs: dict[int, jax.stages.Compiled] = {}

        def predict(params: dict, images: jax.Array) -> MaskPrediction | LabelPrediction:
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
        """See `Evaluator`. Compiles for the smallest square; others follow when they are met."""
        self._program(params, self._side(0))

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
        examples: list[Example] = []

        def leave_out(error: UserError) -> None:
            left_out.append(str(error))
            on_error(error)

        def add(pool: ThreadPoolExecutor, batch: tuple) -> None:
            try:
                examples.extend(self._add(scorer, pool, *batch))
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
        return scorer, Evaluated(examples, sorted(lines))

    def _read(self, i: int) -> _Read:
        truth = self.data.sample(i)
        pixels = for_evaluation(truth.image, self._short, self._long, self._patch)
        return _Read(truth, pixels)

    def _side(self, longest: int) -> int:
        """The side of the square for images of at most this side: the short side of images, or
        some quarters of it more."""
        least = max(round(self._short / self._patch), 1)
        step = max(least // 4, 1)
        more = max(-(-longest // self._patch) - least, 0)
        return self._patch * (least + -(-more // step) * step)

    def _program(self, params: dict, side: int) -> jax.stages.Compiled:
        if side not in self._programs:
            images = self._spread.abstract((side, side, 3), np.uint8)
            self._programs[side] = compiled(
                self._predict.lower(params, images),
                what=f"the evaluation of images of {side} pixels",
                remedy="lower config.evaluation.short_side or config.evaluation.long_side",
            )
        return self._programs[side]

    def _dispatch(
        self, params: dict, images: Mapping[int, _Read]
    ) -> tuple[MaskPrediction | LabelPrediction, int]:
        """Begins to compute what the model says of a batch. Returns that and the side of its
        squares."""
        longest = max((max(read.pixels.shape) for read in images.values()), default=0)
        side = self._side(max(gather(longest)))
        program = self._program(params, side)
        canvases = {row: on_canvas(read.pixels, side) for row, read in images.items()}
        like = self._spread.abstract((side, side, 3), np.uint8)
        return program(params, self._spread.put(canvases, like)), side

    def _add(
        self, scorer: Scorer, pool: ThreadPoolExecutor, start: int, images: dict, computed: tuple
    ) -> list[Example]:
        """Scores the images of this process; returns those that are drawn."""
        outputs, side = computed
        rows = {row: of for row, of in _rows(outputs).items() if row in images}

        def of_image(row: int):
            truth, pixels = images[row]
            given = off_canvas(rows[row], pixels.shape[:2], side)
            prediction = scorer.predict(truth, given)
            return prediction, scorer.measure_prediction(truth, prediction)

        found = []
        for row, (prediction, measured) in zip(rows, pool.map(of_image, rows), strict=True):
            scorer.add_measured(measured)
            if start + row in self._drawn:
                found.append(Example(images[row].truth, prediction))
        return found


def _rows(predicted: MaskPrediction | LabelPrediction) -> dict[int, Given]:
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
