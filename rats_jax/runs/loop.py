"""The training loop."""

from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from rats_jax.assemble import (
    make_dino,
    make_mesh,
    make_source,
    with_absolute_path,
)
from rats_jax.config.sizes import with_size
from rats_jax.data.device import DeviceBatches, device_batches, rows_here
from rats_jax.data.pipeline import open_batches
from rats_jax.data.sources import Source
from rats_jax.errors import Stopped
from rats_jax.parallel.distributed import agree
from rats_jax.parallel.mesh import batch_sharding, describe
from rats_jax.runs.automatic import choose, say_choices
from rats_jax.runs.compilation_cache import keep_compiled_programs
from rats_jax.runs.ending import next_line, nothing_to_do, say_end
from rats_jax.runs.events import Events
from rats_jax.runs.guards.guards import Guards
from rats_jax.runs.guards.stop import Stop
from rats_jax.runs.initial.first_start import first_start
from rats_jax.runs.machine import check_memory
from rats_jax.runs.memory import check_address_space, least_memory
from rats_jax.runs.observer import Observer
from rats_jax.runs.online.evaluation import open_evaluation
from rats_jax.runs.opened import OpenRun, Run
from rats_jax.runs.pretraining import Pretraining
from rats_jax.runs.programs import compile_train_step
from rats_jax.runs.reporting import say_parameters
from rats_jax.runs.same_data import data_facts
from rats_jax.runs.starting import open_together, start_state
from rats_jax.runs.workdir import check_command, folder_of, writing_to
from rats_jax.validation import validate
from rats_jax.voice import say


def train(
    config: ConfigDict,
    workdir: str,
    *,
    source: Source | None = None,
    weights: Mapping | None = None,
) -> Path:
    """Trains from the newest checkpoint to the recipe's end, or to `config.run.stop_after`.

    Args:
      config: a recipe, see `rats_jax.config`.
      workdir: the directory of the run.
      source: the images; by default those that `config.data` names.
      weights: the initial weights of student and teacher, {"backbone", "head"} as in a run's
        teacher, with an optional "center"; by default those that `config.init` names, or random
        ones. If they are given, `config.init.checkpoint` is not read. `events.jsonl` has their
        fingerprint. Ignored if the run has a checkpoint: it resumes from that.

    Returns the workdir. Raises UserError for a config, data set or workdir that cannot be used and
    for a run that cannot continue; Stopped after SIGTERM or Ctrl-C, once the run is saved.
    """
    config = with_size(config)
    validate(config)
    check_command(folder_of(workdir), config)
    check_address_space()
    keep_compiled_programs(config.run.compilation_cache)
    if source is None:
        config = with_absolute_path(config)
        source = make_source(config)
    memory = least_memory()
    config, choices = choose(config, workdir, images=len(source), memory=memory)
    say_choices(choices, images=len(source))
    validate(config)
    automatic = {choice.field: choice.reason for choice in choices}
    config, initial = first_start(config, workdir, source, weights)
    method = Pretraining(config, make_dino(config, images=len(source)))
    mesh = make_mesh(config)
    check_memory(config, mesh, memory)
    run = Run(
        config=config,
        method=method,
        mesh=mesh,
        source=source,
        evaluation=open_evaluation(config, method.dino, mesh),
        data=data_facts(source, seed=config.seed),
        initial=initial,
        automatic=automatic,
    )
    folder, is_finished = run_in(workdir, run)
    if is_finished:
        say(next_line(folder))
    return folder


def run_in(workdir: str, run: Run) -> tuple[Path, bool]:
    """Opens or resumes the run in its directory, and trains as `train` does.

    Returns the workdir, and whether the run has reached its end.
    """
    with (
        Stop() as stop,
        open_together(workdir, run.config, data=run.data, automatic=run.automatic) as folder,
        writing_to(folder),
        run.open_checkpoints(folder) as checkpoints,
    ):
        run = OpenRun(**vars(run), folder=folder, checkpoints=checkpoints, events=Events(folder))
        config, schedules = run.config, run.method.schedules
        say(
            f"{len(run.source):,} images, batch {config.optimizer.batch_size} on "
            f"{describe(run.mesh)}: {schedules.steps:,} steps, {schedules.steps_per_epoch:,} per "
            "epoch"
        )
        for line in run.method.warnings(run.mesh):
            say(f"warning: {line}")
        last = min(config.run.stop_after or schedules.steps, schedules.steps)
        state, start = start_state(run)
        say_parameters(state["student"])
        if start >= last:
            say(nothing_to_do(config, schedules, start))
        else:
            take_steps(run, stop, state, start=start, last=last)
            say_end(folder, config, checkpoints, run.events, step=last, steps=schedules.steps)
    say(f"done: step {max(start, last)}, results in {folder}")
    return folder, last == schedules.steps


def take_steps(run: OpenRun, stop: Stop, state: dict, *, start: int, last: int) -> None:
    """Trains from step `start` to step `last` and saves. state: donated to the first step.

    Raises Stopped if a signal ended the run before step `last`, or while that step was saved.
    """
    checkpoints, guards = run.checkpoints, Guards(run, start=start)
    with (
        Observer(run, guards, start=start, last=last) as observer,
        _open_input(run, start) as batches,
    ):
        train_step = compile_train_step(run.method, run.config, run.mesh, state)
        observer.compile(state)
        observer.describe()
        agree()  # compilation takes longer on some hosts than on others
        stop.now_there_is_something_to_save()
        with guards:
            observer.begin(state)
            for step in range(start + 1, last + 1):
                # 1. All processes agree to continue.
                if (status := stop.before(step)) is not None:
                    last = step - 1
                    break
                # 2. The images of this step, which do not depend on earlier interruptions.
                samples, host = next(batches)
                # 3. The step: nothing else changes the state.
                state, metrics = train_step(state, samples)
                # 4. The guards may end the run.
                guards.check(step, metrics, host)
                # 5. Report and evaluate, if due.
                observer.observe(step, state, samples, metrics, waited=batches.take_seconds_waited)
                # 6. Save, if due.
                if checkpoints.is_due(step, last=last, judged=observer.judged(step)):
                    run.save(step, state, metrics=observer.metrics(step))
                # 7. Draw last: the picture shows the best checkpoint, and drawing may fail.
                observer.draw()
            guards.finish()
            if last > start:
                run.save(last, state, metrics=observer.metrics(last))
            checkpoints.finish()
            observer.finish()
    if status is None:
        status = stop.asked_too_late()
    guards.unreadable.say_count()
    if status is not None:
        run.events.add("stopped", step=last, status=status)
        where = f"no step was taken after step {start}"
        if last > start:
            where = f"saved at step {last}"
        raise Stopped(f"{where}: run the same command again to continue", status)


def _open_input(run: OpenRun, start: int) -> DeviceBatches:
    """The batches of the steps after `start`, on the devices."""
    config, data, batch_size = run.config, run.config.data, run.config.optimizer.batch_size
    sharding = batch_sharding(run.mesh)
    stream = open_batches(
        run.source,
        samples=run.method.samples,
        seed=config.seed,
        batch_size=batch_size,
        start_step=start,
        workers=data.workers,
        threads=data.threads,
        rows=rows_here(sharding, batch_size),
    )
    say(
        f"input: {run.method.input}, workers {data.workers}, threads {data.threads}, "
        f"{stream.bytes / 2**20:,.1f} MB of batches in host memory"
    )
    return device_batches(stream, sharding, batch_size=batch_size, depth=data.prefetch)
