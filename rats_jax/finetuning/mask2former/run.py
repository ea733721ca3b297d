"""`rats finetune --decoder=mask2former`: trains and scores a model in PyTorch."""

from pathlib import Path

import torch
from ml_collections import ConfigDict
from torch import nn

from rats_jax.backbones import Backbone
from rats_jax.config.checks import check
from rats_jax.errors import UserError
from rats_jax.finetune_validation import check_backbone
from rats_jax.finetuning.images import Data, make_samples, open_data
from rats_jax.finetuning.mask2former.checkpoints import State, TorchCheckpoints
from rats_jax.finetuning.mask2former.ending import end, write_scores
from rats_jax.finetuning.mask2former.evaluation import Evaluation
from rats_jax.finetuning.mask2former.groups import parameter_groups
from rats_jax.finetuning.mask2former.loop import take_steps
from rats_jax.finetuning.mask2former.memory import SCORE_SMALLER, explained_memory
from rats_jax.finetuning.mask2former.model import check as check_model
from rats_jax.finetuning.mask2former.model import make_model
from rats_jax.finetuning.mask2former.opened import OpenRun
from rats_jax.finetuning.mask2former.opening import (
    about_run,
    compare_with,
    first_backbone,
    open_folder,
    without_weights,
)
from rats_jax.finetuning.mask2former.processes import Processes, open_processes
from rats_jax.finetuning.mask2former.state import continue_from
from rats_jax.finetuning.mask2former.step import TrainStep
from rats_jax.runs.checkpoints.retention import Rules
from rats_jax.runs.checkpoints.steps import steps_in
from rats_jax.runs.events import Events
from rats_jax.runs.guards.stop import Stop
from rats_jax.runs.guards.watchdog import Watchdog
from rats_jax.runs.metric_names import is_of_evaluation
from rats_jax.runs.workdir import folder_of, load_config, write_config, writing_to
from rats_jax.segmentation.schedules import Schedule
from rats_jax.validation import validate
from rats_jax.voice import say


def finetune(config: ConfigDict, workdir: str) -> Path:
    """Trains from the newest checkpoint to the last step, or to `config.run.stop_after`. After the
    last step, writes the scores of the best checkpoint to `workdir`/results and its model to
    `workdir`/export.

    config: of `rats finetune`, with decoder.name mask2former. Returns the workdir. Raises UserError
    for a config, data set, device or workdir that cannot be used; Stopped after SIGTERM or Ctrl-C,
    once the run is saved.
    """
    validate(config)
    with open_processes(config.compute_dtype) as processes, explained_memory():
        _check_batch(config, processes)
        data = open_data(config)
        resumes = bool(steps_in(folder_of(workdir) / "checkpoints"))
        backbone = None if resumes else first_backbone(config)
        if backbone:  # before the workdir exists
            check_backbone(config, backbone.options)
            check_model(config, backbone.options)
        with Stop() as stop, open_folder(workdir, config, processes) as folder, writing_to(folder):
            watchdog = Watchdog(
                folder, seconds=60 * config.guards.stall_minutes, process=processes.number
            )
            evaluation = Evaluation(
                data.test, config, processes, beat=watchdog.beat, stops=lambda: stop.before(0)
            )
            run, start = _open_run(config, folder, processes, data, evaluation, backbone)
            steps, scored = config.optimizer.steps, None
            last = min(config.run.stop_after or steps, steps)
            if start < last or run.unscored is not None:
                with watchdog:
                    scored = take_steps(run, stop, watchdog, start=start, last=last)
            else:
                say(f"already at step {start:,} of {steps:,}: nothing to train")
            end(run, stop, scored, step=max(start, last))
    return folder


def evaluate(workdir: str) -> Path:
    """Scores the best checkpoint of a run again and writes `workdir`/results. Returns the workdir.
    Raises UserError if no checkpoint has scores."""
    folder = folder_of(workdir)
    config = load_config(folder)
    check(
        config.get("decoder", {}).get("name") == "mask2former",
        f"{folder} is not the workdir of a run of rats finetune --decoder=mask2former",
    )
    validate(config)
    with (
        open_processes(config.compute_dtype) as processes,
        explained_memory(SCORE_SMALLER),
        writing_to(folder),
    ):
        evaluation = Evaluation(open_data(config).test, config, processes)
        checkpoints = TorchCheckpoints(folder, rules_of(config))
        best = processes.agree(checkpoints.best() if processes.is_first else None)
        if best is None:
            raise UserError(
                f"{folder} has no checkpoint with {config.run.best_metric}: train first"
            )
        state = checkpoints.read(best[0], with_optimizer=False)
        backbone = without_weights(state.about["backbone"])
        model = make_model(backbone, config, classes=state.about["classes"])
        model.load_state_dict(state.model)
        model = processes.accelerator.prepare_model(model, evaluation_mode=True)
        scored = evaluation.score(model)
        if processes.is_first:
            about = dict(state.about) | {"step": state.step}
            write_scores(folder, evaluation, scored, about=about)
    return folder


def _check_batch(config: ConfigDict, processes: Processes) -> None:
    optimizer, share = config.optimizer, len(processes.rows(config.optimizer.batch_size))
    check(
        share % optimizer.accumulation == 0,
        f"config.optimizer.accumulation {optimizer.accumulation} does not divide the {share} "
        f"images that each of {processes.count} processes has of a batch: choose a divisor",
    )


def rules_of(config: ConfigDict) -> Rules:
    """Which checkpoints are kept."""
    run = config.run
    return Rules(
        newest=run.keep_checkpoints,
        every=0,
        best=run.keep_best,
        metric=run.best_metric,
        highest=run.best_is == "highest",
    )


def _open_run(
    config: ConfigDict,
    folder: Path,
    processes: Processes,
    data: Data,
    evaluation: Evaluation,
    backbone: Backbone | None,
) -> tuple[OpenRun, int]:
    """The run, at its newest checkpoint or at its start, and the number of steps it has taken.
    backbone: of a new run."""
    source, checkpoints = data.source, TorchCheckpoints(folder, rules_of(config))
    events = Events(folder, process=processes.number)
    step = processes.agree(checkpoints.newest() if processes.is_first else None)
    found = None if step is None else checkpoints.read(step)
    backbone = without_weights(found.about["backbone"]) if found else backbone
    about = about_run(config, source, evaluation, backbone, processes)
    if found:
        say(f"resuming from the checkpoint at step {found.step}")
        compare_with(found.about, about, config, folder, found.step)
        check_backbone(config, backbone.options)
    batch, steps = config.optimizer.batch_size, config.optimizer.steps
    say(f"batch {batch} on {processes.about()}: {steps:,} steps, {steps * batch:,} images")
    torch.manual_seed(config.seed)
    model = make_model(backbone, config, classes=data.classes)
    train_step = _train_step(model, config, processes)
    if found:
        continue_from(found, train_step, scaler=processes.accelerator.scaler)
    if processes.is_first:
        write_config(folder, config)
    for number, reason in checkpoints.damaged:
        events.add("damaged", step=number, reason=reason)
    events.add("continued" if found else "started", step=step or 0, code=about["code"])
    run = OpenRun(
        config=config,
        folder=folder,
        processes=processes,
        source=source,
        samples=make_samples(config),
        evaluation=evaluation,
        train_step=train_step,
        checkpoints=checkpoints,
        events=events,
        about=about,
        unscored=found.metrics if found and _lacks_scores(found, config) else None,
    )
    return run, step or 0


def _lacks_scores(state: State, config: ConfigDict) -> bool:
    """Whether an evaluation was due after the step of a checkpoint, and was interrupted."""
    every, step = config.evaluation.every_steps, state.step
    is_due = (every and step % every == 0) or step in (
        config.run.stop_after,
        config.optimizer.steps,
    )
    return bool(is_due) and not any(map(is_of_evaluation, state.metrics))


def _train_step(model: nn.Module, config: ConfigDict, processes: Processes) -> TrainStep:
    schedule = Schedule.of(config.optimizer)
    return TrainStep(
        model,
        parameter_groups(model, config),
        processes,
        rate=lambda step: float(schedule.learning_rate(step)),
        peak=schedule.peak,
        seed=config.seed,
        clip=config.optimizer.clip,
        no_object=config.loss.no_object,
    )
