"""Reports and evaluations of a run while it trains."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np

from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.evaluation import Interrupted, Scored
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.runs.metric_files import MetricFiles
from rats_jax.runs.metric_names import display_name, formatted, is_said
from rats_jax.runs.reporting import Interval, duration
from rats_jax.segmentation.pictures import prediction_sheet
from rats_jax.voice import say


class Observer:
    """Observes the steps of one start of a run; training does not depend on it. A context manager
    that closes the files. All processes call every method at the same steps; the first one writes.

    start, last: the number of steps taken before and after this start.

    Attributes:
      scored: the last evaluation and its step.
    """

    def __init__(self, run: OpenRun, *, start: int, last: int):
        self._run, self._start, self._last = run, start, last
        batch = run.config.optimizer.batch_size
        self._interval = Interval(
            batch_size=batch, steps=last, steps_per_epoch=max(len(run.source) // batch, 1)
        )
        self.scored: tuple[int, Scored] | None = None
        self._reported: dict[str, float] = {}
        self._unwritten: dict[str, float] = {}
        self._judged: dict[int, dict[str, float]] = {}
        self._files = MetricFiles(run.folder if run.processes.is_first else None, start=start)

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *exception) -> None:
        self._files.close()

    def begin(self) -> None:
        """Writes the facts of this start, and tries out the evaluation before the first step."""
        about = self._run.about
        facts = {"code": about["code"], **about["packages"], **about["data"]}
        facts["devices"] = self._run.processes.about()
        self._files.describe_start(self._run.config, facts, step=self._start)
        if not self._start and self._run.config.evaluation.every_steps:
            began = time.perf_counter()
            images = self._run.evaluation.try_out(self._run.train_step.bare_model)
            seconds = duration(time.perf_counter() - began)
            say(f"evaluation tried out: {counted(images, 'image')} in {seconds}")

    def report(
        self,
        step: int,
        metrics: Mapping[str, float],
        *,
        waited: Callable[[], float],
        unreadable: int,
    ) -> None:
        """Reports, if due. waited: the seconds since its last call that the run has waited for
        images. unreadable: how many images so far."""
        run = self._run.config.run
        self._interval.add(dict(metrics))
        if step == self._start + 1:
            waited()  # the workers start
        if step % run.log_every == 0 or step == self._last:
            scalars = self._interval.report(step, seconds_waited=waited())
            scalars["unreadable_images"] = float(unreadable)
            self._reported = scalars
            say(self._interval.line(step, scalars, _figures(scalars)))
            self._unwritten = scalars

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation is due after this step."""
        every = self._run.config.evaluation.every_steps
        return step == self._last or bool(every and step % every == 0)

    def evaluate(self, step: int) -> bool:
        """Returns whether all images were scored: not if a process was asked to stop."""
        # Before the first step of this start, no time is measured.
        with self._interval.paused() if step > self._start else nullcontext():
            try:
                self._unwritten = self._unwritten | self._evaluate(step)
            except Interrupted:
                return False
        return True

    def write(self, step: int) -> None:
        """Writes the report and the scores of this step, if any, in one line."""
        if self._unwritten:
            self._files.write_scalars(step, self._unwritten)
        self._unwritten = {}

    def judged(self, step: int) -> dict[str, float]:
        """The scores that were measured at this step."""
        return self._judged.get(step, {})

    def metrics(self, step: int) -> dict[str, float]:
        """What a checkpoint of this step records."""
        return self._reported | self.judged(step)

    def _evaluate(self, step: int) -> dict[str, float]:
        began, run = time.perf_counter(), self._run
        scored = run.evaluation.score(run.train_step.bare_model)
        metrics = scored.scorer.metrics()
        self.scored, self._judged = (step, scored), {step: metrics}
        if scored.found.examples and run.processes.is_first:
            sheet = prediction_sheet(scored.found.examples, run.evaluation.dataset.classes)
            self._files.write_pictures(step, {"predictions": np.asarray(sheet)[None]})
        best = run.config.run.best_metric
        if run.config.run.keep_best and "/" in best and best not in metrics:
            raise UserError(
                f"config.run.best_metric is {best!r}, which no evaluation contains: choose one of "
                f"{', '.join(sorted(metrics))}"
            )
        figures = ", ".join(
            f"{display_name(name)} {formatted(name, metrics[name])}"
            for name in scored.scorer.headers
            if name in metrics and is_said(name)
        )
        seconds = time.perf_counter() - began
        images = counted(len(scored.scorer), "image")
        say(f"step {step}: {figures} ({images}, {duration(seconds)})")
        return metrics


def _figures(scalars: Mapping[str, float]) -> list[str]:
    """What the line of a report has of the losses."""
    return [
        f"class {scalars['class_loss']:.3f}",
        f"mask {scalars['mask_loss']:.3f}",
        f"dice {scalars['dice_loss']:.3f}",
        f"gradient {scalars['gradient_norm']:.3g}",
    ]
