"""The training loop in PyTorch."""

from rats_jax.errors import Stopped
from rats_jax.finetuning.mask2former.evaluation import Scored
from rats_jax.finetuning.mask2former.input import open_input
from rats_jax.finetuning.mask2former.observer import Observer
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.runs.guards.nonfinite import SkippedSteps
from rats_jax.runs.guards.stop import Stop
from rats_jax.runs.guards.unreadable import Unreadable
from rats_jax.runs.guards.watchdog import Watchdog


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
    with Observer(run, start=start, last=last) as observer, open_input(run, start) as batches:
        stop.now_there_is_something_to_save()
        observer.begin()
        saved = start
        for step in range(start + 1, last + 1):
            # 1. The images of this step, which do not depend on earlier interruptions.
            batch = batches.next()
            # 2. All processes agree to continue, and know the masks of the whole batch.
            told = processes.gather_numbers([stop.before(step) or 0, *batch.masks]).astype(int)
            if told[:, 0].any():
                last, status = step - 1, int(told[:, 0].max())
                break
            # 3. The step: nothing else changes the state.
            metrics = run.train_step(step, batch.parts, told[:, 1:].ravel().tolist())
            # 4. The guards may end the run.
            drawn = len(batch.index)
            unreadable.add(batch.unreadable, replaced=batch.replaced, drawn=drawn)
            skipped.add(step, metrics, batch.index)
            watchdog.beat()
            # 5. Report and evaluate, if due.
            observer.observe(
                step, metrics, waited=batches.take_seconds_waited, unreadable=unreadable.count
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
