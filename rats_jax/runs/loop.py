"""The training loop."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import (
    backbone_options,
    make_dino,
    make_mesh,
    make_samples,
    make_source,
    with_absolute_path,
)
from rats_jax.data.device import device_batches, rows_here
from rats_jax.data.pipeline import BatchStream, open_batches
from rats_jax.data.sources import Source
from rats_jax.dino.step import DINO
from rats_jax.errors import Stopped, UserError
from rats_jax.parallel.distributed import agree
from rats_jax.parallel.mesh import batch_sharding, describe
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.checkpoints.retention import rules_of
from rats_jax.runs.compilation_cache import keep_compiled_programs
from rats_jax.runs.dynamics import redraw
from rats_jax.runs.ending import next_line, nothing_to_do, say_end
from rats_jax.runs.events import Events
from rats_jax.runs.guards.alarms import Alarms, heads_with_registers, warm_steps
from rats_jax.runs.guards.nonfinite import SkippedSteps
from rats_jax.runs.guards.stop import Stop
from rats_jax.runs.guards.unreadable import Unreadable
from rats_jax.runs.guards.watchdog import Watchdog
from rats_jax.runs.metric_names import is_of_evaluation
from rats_jax.runs.online.evaluation import OnlineEvaluation, open_evaluation
from rats_jax.runs.programs import abstract_samples, compiled, make_monitor, make_train_step
from rats_jax.runs.reporting import (
    Progress,
    describe_start,
    open_writer,
    say_parameters,
    write_pictures,
)
from rats_jax.runs.same_data import data_facts
from rats_jax.runs.spans import span_warnings
from rats_jax.runs.starting import checked, open_together, start_state
from rats_jax.runs.version import code_version, package_versions
from rats_jax.runs.workdir import check_in_place, writing_to
from rats_jax.validation import validate
from rats_jax.voice import say


def train(
    config: ConfigDict,
    workdir: str,
    *,
    source: Source | None = None,
    weights: Mapping | None = None,
) -> Path:
    """Trains until the recipe's end, or `config.run.stop_after`, from the newest checkpoint on.

    Args:
      config: a recipe, see `rats_jax.config`.
      workdir: where the run is kept.
      source: the images; by default those that `config.data` names.
      weights: what student and teacher start from, {"backbone", "head"} as a run's teacher and, if
        wanted, "center"; by default random ones. `events.jsonl` has their fingerprint. A run that
        has a checkpoint goes on from that.

    Returns the workdir. Raises UserError for a config, data set or workdir that cannot be used and
    for a run that cannot go on, Stopped when SIGTERM or Ctrl-C ended it and it is saved.
    """
    validate(config)
    keep_compiled_programs(config.run.compilation_cache)
    if source is None:
        config = with_absolute_path(config)
        source = make_source(config)
    dino = make_dino(config, images=len(source))
    mesh = make_mesh(config)
    if weights is not None:
        weights = checked(weights, dino, seed=config.seed)
    evaluation = open_evaluation(config, dino, mesh)
    data = data_facts(source, seed=config.seed)
    with (
        Stop() as stop,
        open_together(workdir, config, data=data) as folder,
        writing_to(folder),
        _open_checkpoints(config, dino, folder) as checkpoints,
    ):
        schedules, events = dino.schedules, Events(folder)
        say(
            f"{len(source):,} images, batch {config.optimizer.batch_size} on {describe(mesh)}: "
            f"{schedules.steps:,} steps of {schedules.steps_per_epoch:,} to the epoch"
        )
        for line in span_warnings(config, schedules):
            say(f"warning: {line}")
        last = min(config.run.stop_after or schedules.steps, schedules.steps)
        measures = evaluation.about if evaluation else {}
        state, start = start_state(
            config,
            dino,
            mesh,
            checkpoints,
            events,
            folder,
            data=data,
            evaluation=measures,
            weights=weights,
        )
        say_parameters(state["student"])
        if start >= last:
            say(nothing_to_do(config, schedules, start))
        else:
            run = _Run(
                config, dino, source, data, mesh, evaluation, folder, checkpoints, events, stop
            )
            run.train(state, start, last)
            say_end(folder, config, checkpoints, events, step=last, steps=schedules.steps)
    say(f"done: step {max(start, last)}, results in {folder}")
    if last == schedules.steps:
        say(next_line(folder))
    return folder


def _open_checkpoints(config: ConfigDict, dino: DINO, folder: Path) -> Checkpoints:
    rules = rules_of(config, dino.schedules)
    return Checkpoints(
        folder,
        keep=rules.newest,
        keep_every=rules.every,
        keep_best=rules.best,
        best_metric=rules.metric,
        best_is=config.run.best_is,
    )


class _Run:
    """The steps of a run, from one start of it to its end."""

    def __init__(
        self,
        config: ConfigDict,
        dino: DINO,
        source: Source,
        data: Mapping,
        mesh: Mesh,
        evaluation: OnlineEvaluation | None,
        folder: Path,
        checkpoints: Checkpoints,
        events: Events,
        stop: Stop,
    ):
        self._config, self._dino, self._source, self._mesh = config, dino, source, mesh
        self._evaluation = evaluation
        self._folder, self._checkpoints, self._events = folder, checkpoints, events
        self._stop = stop
        self._sharding = batch_sharding(mesh)
        self._skipped = SkippedSteps(source, events, limit=config.guards.nonfinite_steps)
        self._alarms = Alarms(
            prototypes=config.head.prototypes,
            warm=warm_steps(dino.schedules),
            heads=heads_with_registers(backbone_options(config)),
        )
        self._measured: dict[str, float] = {}  # by an evaluation since the last report
        #: What every checkpoint says of the run.
        self._about = {
            "config": config.to_dict(),
            "code": code_version(),
            "packages": package_versions(),
            "data": {**data, "seed": config.seed, "batch_size": config.optimizer.batch_size},
        }
        if evaluation:
            self._about["evaluation"] = evaluation.about
        self._scalars: dict[str, float] = {}  # as last reported
        self._judged: dict[int, dict[str, float]] = {}  # of the last evaluation, at its step

    def train(self, state: dict, start: int, last: int) -> None:
        """Raises Stopped when a signal ended it before the step `last`."""
        config, run = self._config, self._config.run
        self._unreadable = Unreadable(
            self._source, self._folder, max_share=config.data.max_unreadable, start=start
        )
        watchdog = Watchdog(self._folder, seconds=60 * config.guards.stall_minutes)
        progress = Progress(
            batch_size=config.optimizer.batch_size,
            steps=last,
            steps_per_epoch=self._dino.schedules.steps_per_epoch,
        )
        keep_every = rules_of(config, self._dino.schedules).every or last
        workdir = self._folder if jax.process_index() == 0 else None
        status = None
        with (
            closing(open_writer(workdir, start=start)) as writer,
            device_batches(
                self._open_input(start),
                self._sharding,
                batch_size=config.optimizer.batch_size,
                depth=config.data.prefetch,
            ) as batches,
        ):
            train_step, monitor = self._compile(state)
            about = self._about
            facts = {"code": about["code"], **about["packages"], **about["data"]}
            describe_start(writer, config, facts | {"mesh": describe(self._mesh)}, step=start)
            agree()  # to compile takes longer on some hosts than on others
            self._stop.now_there_is_something_to_save()
            with watchdog:
                if self._evaluation and not start:
                    measured = self._evaluate(0, state, None, watchdog, writer)
                    self._write(0, measured, writer)
                    if measured:
                        self._draw()
                for step in range(start + 1, last + 1):
                    if (status := self._stop.before(step)) is not None:
                        last = step - 1
                        break
                    samples, host = next(batches)
                    self._unreadable.add(
                        host["unreadable"], replaced=host["replaced"], drawn=len(host["index"])
                    )
                    state, metrics = train_step(state, samples)
                    self._checkpoints.check()
                    progress.add(metrics)
                    self._skipped.add(step, metrics, host["index"])
                    watchdog.beat()
                    if step == start + 1:
                        batches.take_seconds_waited()  # the first batch and compiling do not count
                    scalars, measured = {}, {}
                    if step % run.log_every == 0 or step == last:
                        signs = monitor(state, samples) if monitor else {}
                        scalars = progress.report(
                            step, seconds_waited=batches.take_seconds_waited()
                        )
                        scalars = self._report(step, scalars | jax.device_get(signs), progress)
                    evaluates = self._evaluation and self._evaluation.is_due(step, last=last)
                    if scalars or evaluates:
                        with progress.paused():
                            if evaluates:
                                measured = self._evaluate(step, state, samples, watchdog, writer)
                            self._write(step, scalars | measured, writer)
                    if scalars:
                        self._judge(step, scalars)
                    judged = run.keep_best and run.best_metric in self._judged.get(step, {})
                    if step % run.checkpoint_every == 0 or step % keep_every == 0 or judged:
                        self._save(step, state)
                    if measured:
                        with progress.paused():
                            self._draw()
                self._skipped.finish()
                if last > start:
                    self._save(last, state)
                self._checkpoints.finish()
                if self._judged:
                    self._draw()
        if status is None:
            status = self._stop.asked_too_late()
        if self._unreadable.count:
            say(f"images not read: {self._unreadable.count}, see {self._unreadable.file}")
        if status is not None:
            self._events.add("stopped", step=last, status=status)
            where = f"saved at step {last}" if last > start else f"no step was taken from {start}"
            raise Stopped(f"{where}: the same command goes on from there", status)

    def _open_input(self, start: int) -> BatchStream:
        config, data = self._config, self._config.data
        stream = open_batches(
            self._source,
            samples=make_samples(config),
            seed=config.seed,
            batch_size=config.optimizer.batch_size,
            start_step=start,
            workers=data.workers,
            threads=data.threads,
            rows=rows_here(self._sharding, config.optimizer.batch_size),
        )
        say(
            f"input: {data.cropping}, workers {data.workers}, threads {data.threads}, "
            f"{stream.bytes / 2**20:,.1f} MB of batches in host memory"
        )
        return stream

    def _compile(self, state: dict):
        """The training step, and the monitor if there is to be one; and what evaluates."""
        say("compiling the training step, which takes minutes for a large model")
        config, arguments = self._config, (state, abstract_samples(self._config, self._mesh))
        step = compiled(make_train_step(self._dino, config, self._mesh).lower(*arguments))
        if self._evaluation:
            self._evaluation.compile(state["teacher"])
        if config.guards.collapse == "off":
            return step, None
        return step, compiled(make_monitor(self._dino, config, self._mesh).lower(*arguments))

    def _report(self, step: int, scalars: dict, progress: Progress) -> dict[str, float]:
        scalars = {name: float(value) for name, value in scalars.items()}
        scalars["unreadable_images"] = self._unreadable.count
        say(progress.line(step, scalars))
        run, self._scalars = self._config.run, scalars
        of_report = not is_of_evaluation(run.best_metric)
        # Of the monitor, which is off, or of registers that the model does not have.
        if run.keep_best and of_report and run.best_metric not in scalars:
            raise UserError(
                f"config.run.best_metric is {run.best_metric!r}: a report has "
                f"{', '.join(sorted(scalars))}"
            )
        return scalars

    def _evaluate(
        self, step: int, state: dict, samples: dict | None, watchdog: Watchdog, writer
    ) -> dict[str, float]:
        measured = self._evaluation.measure(
            step, state["teacher"], samples, events=self._events, beat=watchdog.beat
        )
        self._judged, self._measured = {step: measured.judged}, measured.scalars
        write_pictures(writer, step, measured.pictures)
        return measured.scalars

    def _write(self, step: int, scalars: dict[str, float], writer) -> None:
        """One line for a step, of its report, its evaluation or both."""
        if scalars:
            writer.write_scalars(step, scalars)
            writer.flush()

    def _draw(self) -> None:
        if jax.process_index() == 0:
            redraw(self._folder, self._checkpoints.best() if self._config.run.keep_best else None)

    def _judge(self, step: int, scalars: dict[str, float]) -> None:
        alarms = self._alarms.judge(step, self._measured | scalars)
        self._measured = {}
        collapse = self._config.guards.collapse
        alarms = [alarm for alarm in alarms if collapse != "off" or not alarm.collapse]
        for alarm in alarms:
            say(f"warning: {alarm.message}")
            self._events.add("alarm", step=step, name=alarm.name, message=alarm.message)
        names = [alarm.name for alarm in alarms if alarm.collapse]
        if names and collapse == "stop":
            raise UserError(
                f"{', '.join(names)} at step {step}: the run ends (config.guards.collapse=stop); "
                "docs/operations.md says what to do, and which checkpoint to go on from"
            )

    def _save(self, step: int, state: dict) -> None:
        check_in_place(self._folder)
        position = step * self._config.optimizer.batch_size
        about = self._about | {"data": {**self._about["data"], "position": position}}
        metrics = self._scalars | self._judged.get(step, {})
        self._checkpoints.save(step, state, about=about, metrics=metrics)
