"""How other images, another batch size or another length change the schedules, in numbers."""

from rats_jax.dino.schedules import Schedules

#: Name -> the value at a step.
VALUES = {
    "the learning rate": lambda s, step: s.learning_rate(step),
    "the weight decay": lambda s, step: s.weight_decay(step),
    "the teacher momentum": lambda s, step: 1 - s.teacher_rate(step),
    "the teacher temperature": lambda s, step: s.teacher_temperature(step),
}
#: Span -> the field of `Schedules` with the step at which it ends.
ENDS = {
    "the warm-up": "warmup_steps",
    "the freeze of the last layer": "freeze_last_layer_steps",
}


def schedule_changes(was: Schedules, now: Schedules, *, step: int) -> str:
    """A clause with the changes at a step, with old values in brackets; "" if there are none."""
    if was == now:
        return ""
    said = []
    if (was.steps, was.steps_per_epoch) != (now.steps, now.steps_per_epoch):
        said.append(
            f"the run has {now.steps:,} steps, {now.steps_per_epoch:,} per epoch (before: "
            f"{was.steps:,}, {was.steps_per_epoch:,})"
        )
    if was.steps_per_epoch != now.steps_per_epoch:
        epochs = [f"{step / s.steps_per_epoch:.2f}" for s in (now, was)]
        said.append(f"step {step:,} is epoch {epochs[0]} ({epochs[1]})")
    for name, value in VALUES.items():
        new, old = (f"{float(value(schedule, step)):.4g}" for schedule in (now, was))
        if new != old:
            said.append(f"{name} is {new} ({old})")
    for name, field in ENDS.items():
        new, old = getattr(now, field), getattr(was, field)
        if new != old and step < max(new, old):
            said.append(f"{name} ends at step {new:,} ({old:,})")
    return ", ".join(said)
