"""Measures the teacher during a run: when it is due, and what happens to the results."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.dino.step import DINO
from rats_jax.errors import UserError
from rats_jax.parallel.distributed import gather
from rats_jax.runs.checkpoints.best_metric import same_measure
from rats_jax.runs.events import Events
from rats_jax.runs.metric_names import (
    SAID,
    display_name,
    formatted,
    is_of_evaluation,
    is_said,
    is_score,
    measured_on,
)
from rats_jax.runs.online.evaluator import Evaluator, Found, Moment, Opening
from rats_jax.runs.online.evaluators import open_evaluators
from rats_jax.voice import say


def open_evaluation(config: ConfigDict, dino: DINO, mesh: Mesh) -> "OnlineEvaluation | None":
    """The evaluation that `config.evaluation` describes, with its data opened; None if it is off.

    Raises UserError if something cannot be measured.
    """
    evaluation, run = config.evaluation, config.run
    if not evaluation.every_epochs:
        if run.keep_best and is_of_evaluation(run.best_metric):
            raise UserError(
                f"config.run.best_metric is {run.best_metric}, which only an evaluation measures: "
                "set config.evaluation.every_epochs, for example to 1, or config.run.keep_best=0 "
                "(existing best checkpoints are kept)"
            )
        return None
    steps_per_epoch = dino.schedules.steps_per_epoch
    return OnlineEvaluation(
        open_evaluators(Opening(config, dino, mesh)),
        config.run,
        every=max(round(evaluation.every_epochs * steps_per_epoch), 1),
        steps_per_epoch=steps_per_epoch,
    )


class EvaluationResult(NamedTuple):
    """scalars: of a step, the same in all processes. judged: the scalars that are comparable with
    those of the first evaluation, because the same number of images was read. pictures: name ->
    uint8 [1, h, w, 3], in process 0."""

    scalars: dict[str, float]
    judged: dict[str, float]
    pictures: dict[str, np.ndarray] = {}  # noqa: RUF012, nobody writes to it


class OnlineEvaluation:
    """All evaluators of a run together.

    run: the section of its config. every: steps from one evaluation to the next; 0 for only after
    the last.

    Attributes:
      at_start: whether the state before the first step is measured too.
      about: `Evaluator.on` -> what is measured. Values are comparable only if this is the same.
    """

    def __init__(
        self,
        evaluators: Mapping[str, Evaluator],
        run: ConfigDict,
        *,
        every: int,
        steps_per_epoch: int,
        at_start: bool = True,
    ):
        self._evaluators, self._run, self.at_start = evaluators, run, at_start
        self._every, self._steps_per_epoch = every, steps_per_epoch
        self.about = {of.on: about for of in self._evaluators.values() if (about := of.about)}
        self._reported: set[str] = set()
        self._left_out: dict[str, int] = {}  # in the first evaluation
        self._described = False
        self._check_best_metric()

    @property
    def names(self) -> list[str]:
        """The names of the metrics, with scores first, since most runs are judged by them."""
        names = [name for of in self._evaluators.values() for name in of.names]
        return sorted(names, key=is_score, reverse=True)

    def _check_best_metric(self) -> None:
        run = self._run
        if not (run.keep_best and is_of_evaluation(run.best_metric)):
            return
        if run.best_metric not in self.names:
            raise UserError(
                f"config.run.best_metric is {run.best_metric!r}, which this evaluation does not "
                f"measure: choose one of {', '.join(self.names)}"
            )
        if is_score(run.best_metric) and run.best_is != "highest":
            raise UserError(
                f"config.run.best_metric is {run.best_metric}, for which higher is better: set "
                "config.run.best_is=highest"
            )

    def compile(self, teacher: dict) -> None:
        """Call before the first `measure`, in all processes. teacher: arrays, or abstract ones.

        Raises UserError if processes have different images, or if memory is too small.
        """
        for process, about in enumerate(gather(self.about)):
            same = all(same_measure(about.get(name), on) for name, on in self.about.items())
            if not same or about.keys() != self.about.keys():
                raise UserError(
                    f"config.evaluation finds {self.about} in this process, but {about} in "
                    f"process {process}: give all processes the same images"
                )
        for of in self._evaluators.values():
            of.compile(teacher)

    def is_due(self, step: int, *, last: int) -> bool:
        """True after each interval and after the last step."""
        return bool(self._every and step % self._every == 0) or step == last

    def measure(
        self,
        step: int,
        teacher: dict,
        samples: Mapping[str, jax.Array] | None,
        *,
        events: Events,
        beat: Callable[[], None],
    ) -> EvaluationResult:
        """Evaluates this step; all processes must call it. The scalars are empty if nothing can be
        measured, and lack those of evaluators whose images can no longer be read.

        samples: of the current batch, if there is one. beat: called repeatedly to signal progress.
        At the first call the scores of a plain grid are added to the events, as a baseline. Raises
        UserError only before the first step, when nothing is lost, if no image can be read.
        """
        began = time.perf_counter()
        scalars: dict[str, float] = {}
        left_out: dict[str, int] = {}

        @contextmanager
        def survive_user_errors() -> Iterator[None]:
            try:
                yield
            except UserError as error:
                if not step:
                    raise
                events.add("evaluation_failed", step=step, reason=str(error))
                say(f"warning: no score at step {step}: {error}")

        def on_error(error: UserError) -> None:
            if str(error) not in self._reported:
                self._reported.add(str(error))
                events.add_own("evaluation_left_out", step=step, reason=str(error))
                say(f"warning: left out of the evaluation: {error}")

        moment = Moment(samples, not self._described, beat, on_error)
        grid, facts, pictures = {}, {"masks": {}}, {}
        for name, of in self._evaluators.items():
            with survive_user_errors():
                found = of.measure(teacher, moment)
                scalars |= found.scalars
                grid |= found.grid
                facts |= found.facts
                pictures |= self._drawn(step, name, found)
                if found.left_out is not None:
                    left_out[of.on] = found.left_out
        if not scalars:
            return EvaluationResult({}, {})
        if self.about and not self._described:
            events.add("evaluation", step=step, **self.about, grid=grid, **facts)
        self._described = True
        judged = dict(scalars)
        for on, count in left_out.items():
            if count != (first := self._left_out.setdefault(on, count)):
                say(
                    f"warning: the evaluation of {on} at step {step} leaves out {count} images, "
                    f"but the first evaluation left out {first}: it is not used to choose the "
                    "best checkpoint"
                )
                judged = {name: x for name, x in judged.items() if measured_on(name) != on}
        scalars["evaluation/seconds"] = time.perf_counter() - began
        scalars["evaluation/left_out"] = float(sum(left_out.values()))
        say(_line(step, scalars))
        scalars = {"epoch": step / self._steps_per_epoch} | scalars
        return EvaluationResult(scalars, judged, pictures)

    def _drawn(self, step: int, name: str, found: Found) -> dict[str, np.ndarray]:
        """Draws the pictures; reports errors instead of raising them."""
        if jax.process_index():
            return {}
        try:
            return {title: draw()[None] for title, draw in found.pictures.items()}
        except Exception as error:
            say(f"warning: the {name} at step {step} could not be drawn ({error})")
            return {}


def _line(step: int, scalars: Mapping[str, float]) -> str:
    """An evaluation as a line for the log, with scores in percent."""
    parts = [f"evaluation at step {step}"]
    for name, value in scalars.items():
        if is_score(name) and is_said(name):
            parts.append(f"{display_name(name)} {formatted(name, value)}")
        elif name in SAID:
            parts.append(f"{SAID[name]} {value:.2f}")
    return "  ".join([*parts, f"({scalars['evaluation/seconds']:.1f} s)"])
