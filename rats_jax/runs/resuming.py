"""Compares a start with the checkpoint that the run is resumed from."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from rats_jax.config.old_runs import with_old_fields
from rats_jax.runs.checkpoints.best_metric import measure_changes
from rats_jax.runs.checkpoints.checkpoint import Found
from rats_jax.runs.checkpoints.retention import Rules, rules_of
from rats_jax.runs.metric_names import is_of_evaluation, measured_on
from rats_jax.runs.opened import OpenRun
from rats_jax.runs.same_data import check_data
from rats_jax.runs.schedule_changes import schedule_changes
from rats_jax.runs.version import code_version, package_versions
from rats_jax.runs.workdir import changes
from rats_jax.voice import say

#: Display names for facts of an evaluation whose own names are not clear enough.
CALLED = {"of": "the number of images there are", "images": "the number of images measured"}


def compare_with(found: Found, run: OpenRun) -> None:
    """Reports what has changed and the effect in numbers; keeps checkpoints that changed rules
    would delete.

    Raises:
      UserError: for another model, and for other images unless they are accepted.
    """
    about, step, config, method = found.about, found.step, run.config, run.method
    was = ConfigDict(with_old_fields(about["config"]))
    for line in changes(was, config, run.folder):
        say(line)
    # Older versions did not record the number of images; it was at least the batch size.
    images = about["data"].get("images", max(run.data["images"], was.optimizer.batch_size))
    before = method.schedules_of(was, images=images)
    # The new config with the old images separates the effect of the fields from that of the images.
    between = method.schedules_of(config, images=max(images, config.optimizer.batch_size))
    new_images = check_data(
        about["data"],
        run.data,
        config,
        step=step,
        effect=schedule_changes(between, method.schedules, step=step),
        source=was.data.get("source", ""),
    )
    if new_images:
        run.events.add("data_changed", step=step, was=about["data"], now=dict(run.data))
    if effect := schedule_changes(before, between, step=step):
        say(f"warning: the schedules change at step {step}: {effect}")
    _say_position(about["data"], config, step)
    _say_versions(about)
    measured_anew = _say_evaluation(about.get("evaluation", {}), run.measures)
    _keep_checkpoints(
        rules_of(was, before),
        rules_of(config, method.schedules),
        run,
        step=step,
        rejudged=_rejudged(config, measured_anew, new_images),
    )


def _say_position(was: Mapping, config: ConfigDict, step: int) -> None:
    before, now = was["position"], step * config.optimizer.batch_size
    if before != now:
        what = "left out once" if now > before else "seen once more"
        say(
            f"warning: with this batch size the order of the images continues at image {now:,} "
            f"instead of {before:,}: {abs(now - before):,} images are {what}"
        )


def _say_versions(about: Mapping) -> None:
    was = {"rats_jax": about["code"]} | about.get("packages", {})
    now = {"rats_jax": code_version()} | package_versions()
    changed = [name for name in now if was.get(name, now[name]) != now[name]]
    if changed:
        before, here = (", ".join(f"{name} {of[name]}" for name in changed) for of in (was, now))
        say(f"warning: the checkpoint was written by {before}; this is {here}")


def _say_evaluation(was: Mapping[str, Mapping], now: Mapping[str, Mapping]) -> set[str]:
    """The names of the evaluations whose values are not comparable with the earlier ones."""
    anew = {name for name in was if name not in now}
    for name, on in now.items():
        before = was.get(name, on)
        if changed := measure_changes(before, on):
            anew.add(name)
            told = "; ".join(
                "other images"
                if key == "fingerprint"
                else f"{CALLED.get(key, key)} was {before[key]} and is {on[key]}"
                for key in changed
            )
            say(
                f"warning: the evaluation of {name} has changed ({told}): its figures do not "
                "compare with those from before, and the best checkpoint is one of the new ones"
            )
    return anew


def _rejudged(config: ConfigDict, measured_anew: set[str], new_images: bool) -> bool:
    """Whether values of the best metric are no longer comparable with the earlier ones."""
    metric = config.run.best_metric
    return measured_on(metric) in measured_anew if is_of_evaluation(metric) else new_images


def _keep_checkpoints(was: Rules, now: Rules, run: OpenRun, *, step: int, rejudged: bool) -> None:
    kept, left = run.checkpoints.keep_those_of(was, rejudged=rejudged)
    if kept:
        run.events.add("kept", step=step, steps=kept)
        say(
            f"kept, though no setting of this start asks for it: {_checkpoints(kept)} (kept.txt "
            "there says why); delete what is not needed"
        )
    if left:
        lowered = {"keep_checkpoints": (was.newest, now.newest), "keep_best": (was.best, now.best)}
        told = [f"config.run.{n} was {a} and is {b}" for n, (a, b) in lowered.items() if b < a]
        run.events.add("let_go", step=step, steps=left)
        say(f"removed at the next save: {_checkpoints(left)}, since {' and '.join(told)}")


def _checkpoints(steps: list[int]) -> str:
    what = "the checkpoint at step" if len(steps) == 1 else "the checkpoints at steps"
    return f"{what} {', '.join(map(str, steps))}"
