"""The training loop in PyTorch."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rats_jax.data.pipeline import BatchStream, open_batches
from rats_jax.errors import Stopped
from rats_jax.finetuning.mask2former.evaluation import Scored
from rats_jax.finetuning.mask2former.observer import Observer
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.finetuning.mask2former.targets import parts_of
from rats_jax.runs.guards.nonfinite import SkippedSteps
from rats_jax.runs.guards.stop import Stop
from rats_jax.runs.guards.unreadable import Unreadable
from rats_jax.runs.guards.watchdog import Watchdog
from rats_jax.voice import say


def take_steps(
    run: OpenRun, stop: Stop, watchdog: Watchdog, *, start: int, last: int
) -> tuple[int, Scored] | None:
    """Trains from step `start` to step `last` and saves. Returns the last evaluation and its step.

    Raises Stopped if a signal to any process ended the run before step `last`, once it is saved.
    """
    config, processes, status = run.config, run.processes, None
    number = processes.number
    unreadable = Unreadable(
        run.source,
        run.folder,
        max_share=config.data.max_unreadable,
        start=start,
        process=number,
    )
    skipped = SkippedSteps(run.source, run.events, limit=config.guards.nonfinite_steps)
    with Observer(run, start=start, last=last) as observer, _open_input(run, start) as stream:
        stop.now_there_is_something_to_save()
        observer.begin()
        saved = start
        for step in range(start + 1, last + 1):
            # 1. The images of this step, which do not depend on earlier interruptions.
            batch = stream.next()
            parts = parts_of(batch, config.optimizer.accumulation, processes.device)
            # 2. All processes agree to continue, and know the masks of the whole batch.
            own = [len(target.classes) for part in parts for target in part.targets]
            told = processes.gather_numbers([stop.before(step) or 0, *own]).astype(int)
            if told[:, 0].any():
                last, status = step - 1, int(told[:, 0].max())
                break
            # 3. The step: nothing else changes the state.
            metrics = run.train_step(step, parts, told[:, 1:].ravel().tolist())
            # 4. The guards may end the run.
            _add(unreadable, batch)
            skipped.add(step, metrics, batch["index"])
            watchdog.beat()
            # 5. Report and evaluate, if due.
            observer.observe(
                step, metrics, waited=stream.take_seconds_waited, unreadable=unreadable.count
            )
            # 6. Save, if due.
            judged = observer.judged(step) and config.run.keep_best
            if step % config.run.checkpoint_every == 0 or step == last or judged:
                run.save(step, observer.metrics(step))
                saved = step
        skipped.finish()
        if last > saved:
            run.save(last, observer.metrics(last))
    unreadable.say_count()
    if status is None:
        status = max(asked or 0 for asked in processes.gather(stop.asked_too_late())) or None
    if status is not None:
        run.events.add("stopped", step=last, status=status)
        where = f"saved at step {last}" if last > start else f"no step was taken after step {start}"
        raise Stopped(f"{where}: run the same command again to continue", status)
    return observer.scored


class _Input:
    """Batches, and how long the run has waited for them."""

    def __init__(self, stream: BatchStream):
        self._stream, self._waited = stream, 0.0

    def next(self) -> dict:
        began = time.perf_counter()
        batch = next(self._stream)
        self._waited += time.perf_counter() - began
        return batch

    def take_seconds_waited(self) -> float:
        waited, self._waited = self._waited, 0.0
        return waited


@contextmanager
def _open_input(run: OpenRun, start: int) -> Iterator[_Input]:
    """The batches of the steps after `start`: the rows of this process."""
    config, data = run.config, run.config.data
    with open_batches(
        run.source,
        samples=run.samples,
        seed=config.seed,
        batch_size=config.optimizer.batch_size,
        start_step=start,
        workers=data.workers,
        threads=data.threads,
        rows=run.processes.rows(config.optimizer.batch_size),
    ) as stream:
        say(
            f"input: workers {data.workers}, threads {data.threads}, "
            f"{stream.bytes / 2**20:,.1f} MB of batches in host memory"
        )
        yield _Input(stream)


def _add(unreadable: Unreadable, batch: Mapping) -> None:
    unreadable.add(batch["unreadable"], replaced=batch["replaced"], drawn=len(batch["index"]))
