"""How other images, another batch size or another length change the schedules, in numbers."""

from rats_jax.runs.method import Schedules


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
    before = was.values(step)
    for name, value in now.values(step).items():
        new, old = (f"{float(x):.4g}" for x in (value, before[name]))
        if new != old:
            said.append(f"{name} is {new} ({old})")
    for name, new in now.ends().items():
        old = was.ends()[name]
        if new != old and step < max(new, old):
            said.append(f"{name} ends at step {new:,} ({old:,})")
    return ", ".join(said)
