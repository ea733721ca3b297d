"""Formats the figures of a plan as one page. GB are 10^9 bytes, GiB 2^30."""

import math

from rats_jax.data.counted import counted
from rats_jax.planning.advice import Try

GiB = 2**30
#: The largest part of a GPU's memory that JAX can take: CUDA and the driver need the rest.
LARGEST_FRACTION = 0.95


def page(plan: dict) -> list[str]:
    """The lines of the page. plan: from `figures.figures`."""
    lines = [*_layout(plan), "", *_memory(plan)]
    if "collectives" not in plan:  # compiling did not finish
        return lines
    lines += ["", *_collectives(plan["collectives"]), "", *_flops(plan)]
    if plan["speed"]:
        return [*lines, "", *_speed(plan)]
    return [*lines, "no bound on time: the peak figures of this hardware are not known"]


def verdict(plan: dict) -> str:
    """One line that says whether the step fits in memory."""
    memory = plan["memory"]
    if memory["capacity"] is None:
        return f"peak {_size(memory['peak'])} a device, whose capacity is not known"
    if "arguments" in memory or plan["by_hand"]:
        needs = f"{memory['peak'] / GiB:.2f}"
    else:
        needs = f"at least {memory['peak'] / GiB:.2f}"
    against = f"{needs} of {memory['capacity'] / GiB:.2f} GiB a {_unit(plan)}"
    if not plan["fits"]:
        return f"does not fit: {against}"
    return f"fits: {against}, head-room {1 - memory['peak'] / memory['capacity']:.0%}"


def changes_as_flags(changes: dict[str, str | int]) -> str:
    """Changes to a config, as flags of a command."""
    return " ".join(f"--config.{name}={value}" for name, value in changes.items())


def tried(found: Try) -> str:
    """One line that says whether the settings of a try fit."""
    step = found.step
    if step is None:
        result = "cannot fit, by the others"
    else:
        result = "fits" if found.fits else "does not fit"
    exact = step is not None and (step.memory or step.counted)
    unit = "GPU" if step is not None and step.counted else "chip"
    line = f"{result}, {'' if exact else 'at least '}{found.needs / GiB:.2f} GiB a {unit}"
    return line + (f", compiled in {step.seconds:.0f} s" if step and step.seconds else "")


def _layout(plan: dict) -> list[str]:
    batch = plan["batch"]
    parts = counted(batch["accumulation"], "micro-batch")
    mesh = ", ".join(f"{axis} {size}" for axis, size in plan["mesh"].items())
    parameters = plan["parameters"]
    listed = " + ".join(f"{name} {count / 1e6:,.1f} M" for name, count in parameters.items())
    return [
        f"hardware    {plan['hardware']}: {counted(plan['chips'], _unit(plan))}, "
        f"{counted(plan['hosts'], 'host')}",
        f"mesh        {mesh}",
        f"batch       {batch['global']:,} = {batch['per_host']:g} a host = "
        f"{batch['per_chip']:g} a {_unit(plan)}, in {parts} of "
        f"{counted(batch['micro_batch_per_shard'], 'image')} a shard",
        f"step        {plan['compute_dtype']}, remat {plan['remat']}, {_how(plan)}",
        f"parameters  {sum(parameters.values()) / 1e6:,.1f} M: {listed}",
    ]


def _unit(plan: dict) -> str:
    return "GPU" if plan["by_hand"] else "chip"


def _how(plan: dict) -> str:
    if plan["by_hand"]:
        return "counted by hand: not compiled for this GPU, and not measured"
    return f"compiled in {plan['compile_seconds']:.0f} s"


def _counted_memory(memory: dict, state: int) -> list[str]:
    """What a count by hand says beside the state."""
    kept, fraction = memory["kept"], memory["fraction"]
    usable = (
        f"  usable        {memory['capacity'] / GiB:.2f} GiB: of the GPU's "
        f"{memory['board'] / GiB:.1f} GiB JAX takes {fraction:.0%}; {memory['reserve']:.0%} of "
        "these are left free"
    )
    needed = memory["fraction_needed"]
    if memory["peak"] > memory["capacity"] and needed <= LARGEST_FRACTION:
        setting = math.ceil(100 * needed) / 100
        usable += f"; it fits with XLA_CLIENT_MEM_FRACTION={setting:.2f}"
    other = memory["peak"] - state - kept["bytes"]
    return [
        usable,
        f"  kept          {_size(kept['bytes'])} for the backward pass: "
        f"{_size(kept['per_image'])} an image",
        f"  other         {_size(other)}: gradients, the block that is being computed, images",
    ]


def _memory(plan: dict) -> list[str]:
    state, memory = plan["state_bytes_per_chip"], plan["memory"]
    listed = ", ".join(f"{name} {_size(count)}" for name, count in state.items())
    lines = [
        f"memory      {verdict(plan)}",
        f"  state         {_size(sum(state.values()))}: {listed}",
    ]
    if plan["by_hand"]:
        return lines + _counted_memory(memory, sum(state.values()))
    if "arguments" not in memory:
        return lines
    results = memory["results"]
    lines += [
        f"  arguments     {_size(memory['arguments'])} (state and images), results that do not "
        f"reuse an argument's memory {_size(results)}",
        f"  temporaries   {_size(memory['temporaries'])}, program {_size(memory['code'])}",
    ]
    if kept := memory["kept"]:
        lines.append(
            f"  kept          {_size(kept['bytes'])} of them by the blocks for the backward pass: "
            f"{_size(kept['per_image'])} an image, {_size(kept['per_image_per_layer'])} a layer, "
            f"{kept['per_token_per_layer_per_width']:.1f} bytes a token, layer and unit of width"
        )
        large = [stack for stack in kept["stacks"] if stack["bytes"] > kept["bytes"] / 100]
        for stack in large[:8]:
            shape = ",".join(map(str, stack["shape"]))
            padding = f", padded {stack['padding']:.2f}x" if stack["padding"] > 1.005 else ""
            origin = f"  {stack['origin']}" if stack["origin"] else ""
            lines.append(
                f"    {_size(stack['bytes']):>10}  {stack['dtype']}[{shape}]{padding}{origin}"
            )
    return lines


def _collectives(rows: list[dict]) -> list[str]:
    total = sum(row["bytes"] for row in rows)
    lines = [f"collectives {_size(total)} a step in {sum(row['count'] for row in rows)} operations"]
    if not rows:
        return lines
    shown, rest = rows[:10], rows[10:]
    lines.append(f"    {'':18} {'':5} {'over':12} {'times':>6} {'bytes':>10}  of")
    for row in shown:
        lines.append(
            f"    {row['kind']:18} {row['dtype']:5} {'+'.join(row['axes']):12} {row['count']:6,} "
            f"{_size(row['bytes']):>10}  {row['origin']}"
        )
    if rest:
        lines.append(
            f"    {'others':18} {'':5} {'':12} {sum(row['count'] for row in rest):6,} "
            f"{_size(sum(row['bytes'] for row in rest)):>10}"
        )
    return lines


def _flops(plan: dict) -> list[str]:
    flops, batch = plan["flops_per_image"], plan["batch"]["global"]
    parts = ("teacher", "student", "backward", "recomputed")
    listed = ", ".join(f"{name} {_count(flops[name])}" for name in parts)
    return [
        f"operations  {_count(flops['model'] * batch)}FLOP a step by hand, "
        f"{_count(flops['hardware'] * batch)}FLOP with what remat recomputes; an image: {listed}",
        f"            {_size(plan['hbm_bytes_per_step'])} to and from memory, a {_unit(plan)} and "
        "step, " + ("by hand" if plan["by_hand"] else "read from the compiled program"),
    ]


def _speed(plan: dict) -> list[str]:
    speed = plan["speed"]
    busy = speed["busy_seconds"]
    listed = ", ".join(f"{name} {seconds * 1e3:,.1f}" for name, seconds in busy.items() if seconds)
    cores = " or ".join(
        f"{counted(count, 'core')} with config.data.cropping={name}"
        for name, count in speed["cores_per_host"].items()
    )
    lines = [
        f"bound       {speed['step_seconds'] * 1e3:,.1f} ms a step at least, by "
        f"{speed['bound_by']} (ms busy: {listed}): MFU {speed['mfu']:.0%} at most"
    ]
    if speed["xla_estimated_seconds"]:
        lines.append(
            f"            {speed['xla_estimated_seconds'] * 1e3:,.0f} ms by XLA's own estimate, "
            f"one operation after the other ({plan['xla_estimated_cycles'] / 1e6:,.0f} Mcycles)"
        )
    if realistic := speed.get("realistic"):
        low, high = (seconds * 1e3 for seconds in realistic["step_seconds"])
        slow, fast = realistic["images_per_second"]
        least, most = realistic["times_the_bound"]
        lines.append(
            f"realistic   {low:,.0f} to {high:,.0f} ms a step, {slow:,.0f} to {fast:,.0f} "
            f"images/s: {least:g} to {most:g} times the bound, an assumption"
        )
    lines += [
        f"input       {speed['images_per_second']:,.0f} images/s at the bound, "
        f"{speed['images_per_second_per_host']:,.0f} a host: {cores}",
    ]
    if speed["days"] is None:
        lines.append("recipe      config.data.length is 0: give --images=N for its days")
    else:
        lines.append(
            f"recipe      {speed['steps']:,} steps: {speed['days']:,.2f} days at the bound"
            + _realistic_days(speed)
        )
    return lines


def _realistic_days(speed: dict) -> str:
    if "realistic" not in speed:
        return ""
    low, high = speed["realistic"]["days"]
    return f", {low:,.2f} to {high:,.2f} realistically"


def _size(count: float) -> str:
    return f"{count:.0f} B" if count < 1e3 else f"{_count(count)}B"


def _count(number: float) -> str:
    """A number with a metric prefix: 1.25 G."""
    for prefix, one in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= one:
            return f"{number / one:,.2f} {prefix}"
    return f"{number:.0f} "
