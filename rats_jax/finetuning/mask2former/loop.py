"""The training loop in PyTorch."""

from contextlib import suppress

from rats_jax.errors import Stopped
from rats_jax.finetuning.mask2former.evaluation import Interrupted, Scored
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
        with suppress(Interrupted):  # the first step will not be taken
            observer.begin()
        if run.unscored is not None and observer.evaluate(start):
            observer.write(start)
            run.save(start, {**run.unscored, **observer.judged(start)})
        saved = start
        for step in range(start + 1, last + 1):
            # 1. The images of this step, which do not depend on earlier interruptions.
            batch = batches.next()
            # 2. All processes agree to continue, and know the masks of the whole batch.
            gathered = processes.gather_numbers([stop.before(step) or 0, *batch.masks]).astype(int)
            if gathered[:, 0].any():
                last, status = step - 1, int(gathered[:, 0].max())
                break
            # 3. The step: nothing else changes the state.
            metrics = run.train_step(step, batch.parts, gathered[:, 1:].ravel().tolist())
            # 4. The guards may end the run.
            drawn = len(batch.index)
            unreadable.add(batch.unreadable, replaced=batch.replaced, drawn=drawn)
            skipped.add(step, metrics, batch.index)
            watchdog.beat()
            # 5. Report and save, if due; also before an evaluation, which can take long or fail.
            observer.report(
                step, metrics, waited=batches.take_seconds_waited, unreadable=unreadable.count
            )
            if step % config.run.checkpoint_every == 0 or observer.evaluates(step):
                run.save(step, observer.metrics(step))
                saved = step
            # 6. Evaluate, if due, and add the scores to the checkpoint. A signal interrupts it.
            complete = not observer.evaluates(step) or observer.evaluate(step)
            observer.write(step)
            if not complete:
                last = step
                break
            if observer.judged(step):
                run.save(step, observer.metrics(step))
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
