"""Warns once, at the start, of spans in the config that do not fit the length of the run.

Most spans are in epochs, and a run of few images or epochs can be shorter than the recipe expects:
the last layer stays frozen to the end, the temperature never reaches its end, nothing is saved.
"""

from collections.abc import Iterator

from ml_collections import ConfigDict

from rats_jax.dino.schedules import Schedules
from rats_jax.runs.checkpoints.retention import rules_of
from rats_jax.runs.guards.alarms import REPORTS, STEPS, warm_steps
from rats_jax.runs.metric_names import is_of_evaluation


def span_warnings(config: ConfigDict, schedules: Schedules) -> list[str]:
    """A line for each such span, with its length in steps and the field to set. The length of the
    whole run counts, whatever `config.run.stop_after` is."""
    return [
        *_schedules(config, schedules),
        *_taken(config, schedules),
        *_intervals(config, schedules),
    ]


def _schedules(config: ConfigDict, s: Schedules) -> Iterator[str]:
    dino, optimizer = config.dino, config.optimizer
    run, per_epoch = f"the run has {_steps(s.steps)}", s.steps_per_epoch

    freeze = f"config.dino.freeze_last_layer_epochs={dino.freeze_last_layer_epochs:g}"
    if s.freeze_last_layer_steps >= s.steps:
        tenth = optimizer.epochs / 10 if round(s.steps / 10) else 0
        yield (
            f"{freeze} is {_steps(s.freeze_last_layer_steps)} and {run}: the last layer of the "
            f"head stays frozen to the end; set it below config.optimizer.epochs="
            f"{optimizer.epochs:g}, such as to {tenth:.2g}"
        )
    elif dino.freeze_last_layer_epochs and not s.freeze_last_layer_steps:
        yield (
            f"{freeze} is less than a step ({per_epoch:,} per epoch): the last layer of the "
            f"head is never frozen; set it to {1 / per_epoch:.2g} or more, or to 0"
        )

    warmup = f"config.optimizer.warmup_epochs={optimizer.warmup_epochs:g}"
    if s.warmup_steps >= s.steps:
        yield (
            f"{warmup} is {_steps(s.warmup_steps)} and {run}: the learning rate rises to the end "
            "and never falls; lower it"
        )
    elif optimizer.warmup_epochs and not s.warmup_steps:
        yield (
            f"{warmup} is less than a step ({per_epoch:,} per epoch): the first step has the "
            f"full learning rate; set it to {1 / per_epoch:.2g} or more, or to 0"
        )

    epochs = dino.teacher_temperature_warmup_epochs
    arrives = per_epoch * max(epochs - 1, 1) if epochs else 0  # the first step with the final value
    last = float(s.teacher_temperature(s.steps - 1))
    if arrives > s.steps - 1 and s.temperature_start != s.temperature_end:
        begun = -(-s.steps // per_epoch)
        yield (
            f"config.dino.teacher_temperature_warmup_epochs={epochs:g} is "
            f"{_steps(epochs * per_epoch)} and {run}: the teacher's temperature ends at {last:.3g} "
            f"and never reaches config.dino.teacher_temperature={s.temperature_end:g}; set the "
            f"warm-up to {f'at most {begun}' if begun > 1 else 0}"
        )


def _taken(config: ConfigDict, s: Schedules) -> Iterator[str]:
    """Warns if the learning rate of what was taken from given weights never changes."""
    init = config.init
    steps = round(init.learning_rate_epochs * s.steps_per_epoch)
    if init.learning_rate != 1 and (init.checkpoint or init.taken) and steps > s.steps:
        stays = "stays frozen" if init.learning_rate == 0 else "keeps another learning rate"
        yield (
            f"config.init.learning_rate_epochs={init.learning_rate_epochs:g} is {_steps(steps)} "
            f"and the run has {_steps(s.steps)}: what was taken from the weights {stays} to the "
            "end; lower it, or set it to 0 for the whole run"
        )


def _intervals(config: ConfigDict, s: Schedules) -> Iterator[str]:
    run, evaluation = config.run, config.evaluation
    has, per_epoch = f"the run has {_steps(s.steps)}", s.steps_per_epoch

    if run.stop_after > s.steps:
        yield (
            f"config.run.stop_after={run.stop_after} is beyond the end: {has}; raise "
            "config.optimizer.epochs to train longer"
        )
    if evaluation.every_epochs:
        every = f"config.evaluation.every_epochs={evaluation.every_epochs:g}"
        steps = round(evaluation.every_epochs * per_epoch)
        if steps >= s.steps:
            yield (
                f"{every} is {_steps(steps)} and {has}: the teacher is measured before the first "
                "step and after the last, and not between them; lower it"
            )
        elif not steps:
            yield (
                f"{every} is less than a step ({per_epoch:,} per epoch): the teacher is "
                "measured after every step; raise it"
            )
    kept = f"config.run.keep_every_epochs={run.keep_every_epochs:g}"
    keep_every = rules_of(config, s).every
    if keep_every > s.steps:
        yield f"{kept} is {_steps(keep_every)} and {has}: no checkpoint is kept for good; lower it"
    elif run.keep_every_epochs and not round(run.keep_every_epochs * per_epoch):
        yield (
            f"{kept} is less than a step ({per_epoch:,} per epoch): every step is saved and "
            "kept for good; raise it"
        )
    between = evaluation.every_epochs and run.keep_best and is_of_evaluation(run.best_metric)
    if run.checkpoint_every > s.steps and not between and not 0 < keep_every < s.steps:
        yield (
            f"config.run.checkpoint_every={run.checkpoint_every} and {has}: nothing is saved "
            "before the end, and a run that is killed starts again from step 0; lower it"
        )
    yield from _alarms(config, s)


def _alarms(config: ConfigDict, s: Schedules) -> Iterator[str]:
    """Warns if there is no report, or too few reports to raise an alarm of a collapse."""
    every, warm = config.run.log_every, warm_steps(s)
    reports = [*range(warm + every - warm % every, s.steps, every), s.steps]
    may_be_raised = len(reports) >= REPORTS and reports[-1] - reports[0] >= STEPS
    silent = config.guards.collapse != "off" and not may_be_raised
    if every > s.steps:
        yield (
            f"config.run.log_every={every} and the run has {_steps(s.steps)}: there is one report, "
            f"after the last step{', and no alarm of a collapse' if silent else ''}; lower it"
        )
    elif silent:
        enough = min((s.steps - warm) // REPORTS, s.steps - warm - STEPS)
        yield (
            f"no alarm of a collapse can be raised: it takes {REPORTS} reports over {STEPS} steps "
            f"after the warm-up, and steps {warm + 1:,} to {s.steps:,} have {len(reports)}; "
            + (f"set config.run.log_every to at most {enough:,}" if enough > 0 else "train longer")
        )


def _steps(count: float) -> str:
    return "1 step" if count == 1 else f"{count:,} steps"
