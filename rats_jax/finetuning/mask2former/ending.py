"""The end of a run: the scores and the model of its best checkpoint."""

from collections.abc import Mapping
from pathlib import Path

from rats_jax.errors import Stopped
from rats_jax.finetuning.mask2former.evaluation import Evaluation, Interrupted, Scored
from rats_jax.finetuning.mask2former.export import export
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.finetuning.results import write_results
from rats_jax.paths import printable
from rats_jax.runs.ending import checkpoint_line
from rats_jax.runs.guards.stop import Stop
from rats_jax.voice import say


def end(run: OpenRun, stop: Stop, scored: tuple[int, Scored] | None, *, step: int) -> None:
    """Prints where the run is. After the last step of the schedule, also writes the scores and the
    model of the best checkpoint. scored: the last evaluation and its step. Raises Stopped after a
    signal while the best checkpoint is scored."""
    config, folder, steps = run.config, run.folder, run.config.optimizer.steps
    first = run.processes.is_first
    best = run.processes.agree(run.checkpoints.best() if first and config.run.keep_best else None)
    judged = best and (config.run.best_metric, *best)
    say(checkpoint_line(folder, run.checkpoints.steps(), judged))
    if step < steps:
        say(
            f"stopped at step {step:,} of {steps:,}, as set by config.run.stop_after: run the same "
            "command with a larger value, or 0, to continue"
        )
        return
    chosen = best[0] if best else run.checkpoints.steps()[-1]
    if scored is None or scored[0] != chosen:
        state = run.checkpoints.read(chosen, with_optimizer=False)
        run.train_step.bare_model.load_state_dict(state.model)
        try:
            scored = chosen, run.evaluation.score(run.train_step.bare_model)
        except Interrupted:
            status = max(asked or 0 for asked in run.processes.gather(stop.asked_too_late()))
            raise Stopped(
                "the run is complete, but its results are not written: run the same command again",
                status,
            ) from None
    if first:
        write_scores(folder, run.evaluation, scored[1], about=run.about | {"step": chosen})
        write_export(run, step=chosen)
    run.processes.agree()
    say(f"done: step {step:,}, results in {printable(str(folder / 'results'))}")


def write_scores(folder: Path, evaluation: Evaluation, scored: Scored, *, about: Mapping) -> None:
    """Writes `folder`/results in place of earlier ones. about: facts of the run, and the step."""
    write_results(folder / "results", evaluation.dataset, scored.scorer, scored.found, about=about)


def write_export(run: OpenRun, *, step: int) -> None:
    """Writes the model, which is that of this step, to the folder `export`."""
    target, sides = run.folder / "export", run.config.evaluation
    export(
        run.train_step.bare_model,
        target,
        {"step": step, "task": run.config.task, "backbone": run.about["backbone"]["origin"]},
        short_side=sides.short_side,
        long_side=sides.long_side,
    )
    say(f"the model of step {step:,} is in {printable(str(target))}, for transformers")
