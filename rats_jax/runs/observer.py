"""The output of a run while it trains: reports, evaluations, alarms, metrics and pictures."""

from collections.abc import Callable

import jax

from rats_jax.errors import UserError
from rats_jax.parallel.mesh import describe
from rats_jax.runs.dynamics import redraw
from rats_jax.runs.guards.guards import Guards
from rats_jax.runs.metric_files import MetricFiles
from rats_jax.runs.metric_names import is_of_evaluation
from rats_jax.runs.opened import OpenRun
from rats_jax.runs.programs import compile_monitor
from rats_jax.runs.reporting import Interval
from rats_jax.voice import say


class Observer:
    """Observes the steps of one start of a run. Training does not depend on it, except that it may
    end the run: on an alarm if config.guards.collapse=stop, or if no report has the best metric.

    A context manager that closes the files on exit. All processes call every method at the same
    steps; process 0 writes. start, last: the number of steps taken before and after this start.
    """

    def __init__(self, run: OpenRun, guards: Guards, *, start: int, last: int):
        self._run, self._guards, self._start, self._last = run, guards, start, last
        self._alarms = run.method.alarms()
        self._interval = Interval(
            batch_size=run.config.optimizer.batch_size,
            steps=last,
            steps_per_epoch=run.method.schedules.steps_per_epoch,
        )
        self._reported: dict[str, float] = {}  # as last reported
        self._measured: dict[str, float] = {}  # by evaluations since the last report
        self._judged: dict[int, dict[str, float]] = {}  # step -> metrics of the last evaluation
        self._to_draw = False
        self._monitor = None
        self._files = MetricFiles(run.folder if jax.process_index() == 0 else None, start=start)

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *exception) -> None:
        self._files.close()

    def compile(self, state: dict) -> None:
        """Compiles the evaluation and the monitor, if there are any."""
        run = self._run
        if run.evaluation:
            run.evaluation.compile(state[run.method.evaluated])
        self._monitor = compile_monitor(run.method, run.config, run.mesh, state)

    def describe(self) -> None:
        """Writes the config, versions, data and mesh of this start next to the metrics."""
        run, about = self._run, self._run.about
        facts = {"code": about["code"], **about["packages"], **about["data"]}
        facts["mesh"] = describe(run.mesh)
        self._files.describe_start(run.config, facts, step=self._start)

    def begin(self, state: dict) -> None:
        """Evaluates the untrained model if this is the beginning of the run and that is wanted."""
        evaluation = self._run.evaluation
        if evaluation and evaluation.at_start and not self._start:
            self._write(0, self._evaluate(0, state, None))
            if self._to_draw:
                self._draw()

    def observe(
        self,
        step: int,
        state: dict,
        samples: dict[str, jax.Array],
        metrics: dict[str, jax.Array],
        *,
        waited: Callable[[], float],
    ) -> None:
        """Handles a step that was taken: reports and evaluates if due, and writes both in one line.

        metrics: of the step, perhaps not yet computed. waited: returns the seconds that the run has
        waited for images since the last call.
        """
        run, evaluation = self._run.config.run, self._run.evaluation
        self._interval.add(metrics)
        if step == self._start + 1:
            waited()  # the wait for the first batch and for compilation does not count
        scalars, measured = {}, {}
        if step % run.log_every == 0 or step == self._last:
            signs = self._monitor(state, samples) if self._monitor else {}
            scalars = self._interval.report(step, seconds_waited=waited())
            scalars = self._report(step, scalars | jax.device_get(signs))
        evaluates = evaluation and evaluation.is_due(step, last=self._last)
        if scalars or evaluates:
            with self._interval.paused():
                if evaluates:
                    measured = self._evaluate(step, state, samples)
                self._write(step, scalars | measured)
        if scalars:
            self._judge(step, scalars)

    def judged(self, step: int) -> dict[str, float]:
        """The metrics measured at this step that are comparable across steps; often empty."""
        return self._judged.get(step, {})

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics stored with a checkpoint of this step: the last report, and `judged`."""
        return self._reported | self.judged(step)

    def draw(self) -> None:
        """Redraws dynamics.png if the last step was evaluated."""
        if self._to_draw:
            with self._interval.paused():
                self._draw()

    def finish(self) -> None:
        """Draws after the last save, since the picture shows which checkpoint is the best."""
        if self._judged:
            self._draw()

    def _report(self, step: int, scalars: dict) -> dict[str, float]:
        scalars = {name: float(value) for name, value in scalars.items()}
        scalars["unreadable_images"] = self._guards.unreadable.count
        say(self._interval.line(step, scalars, self._run.method.figures(scalars)))
        run, self._reported = self._run.config.run, scalars
        of_report = not is_of_evaluation(run.best_metric)
        # The metric is of the monitor, which is off, or of registers that the model does not have.
        if run.keep_best and of_report and run.best_metric not in scalars:
            raise UserError(
                f"config.run.best_metric is {run.best_metric!r}, which no report contains: choose "
                f"one of {', '.join(sorted(scalars))}"
            )
        return scalars

    def _evaluate(
        self, step: int, state: dict, samples: dict[str, jax.Array] | None
    ) -> dict[str, float]:
        run = self._run
        evaluated = state[run.method.evaluated]
        measured = run.evaluation.measure(
            step, evaluated, samples, events=run.events, beat=self._guards.beat
        )
        self._judged, self._measured = {step: measured.judged}, measured.scalars
        self._to_draw = bool(measured.scalars)
        self._files.write_pictures(step, measured.pictures)
        return measured.scalars

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        if scalars:
            self._files.write_scalars(step, scalars)

    def _judge(self, step: int, scalars: dict[str, float]) -> None:
        run, collapse = self._run, self._run.config.guards.get("collapse", "off")
        alarms = self._alarms.judge(step, self._measured | scalars)
        self._measured = {}
        alarms = [alarm for alarm in alarms if collapse != "off" or not alarm.collapse]
        for alarm in alarms:
            say(f"warning: {alarm.message}")
            run.events.add("alarm", step=step, name=alarm.name, message=alarm.message)
        names = [alarm.name for alarm in alarms if alarm.collapse]
        if names and collapse == "stop":
            raise UserError(
                f"{', '.join(names)} at step {step}: the run ends (config.guards.collapse=stop); "
                "docs/operations.md explains what to do, and which checkpoint to continue from"
            )

    def _draw(self) -> None:
        run, self._to_draw = self._run, False
        if jax.process_index() == 0:
            redraw(run.folder, run.checkpoints.best() if run.config.run.keep_best else None)
