"""Whether this machine can take the training steps of a config, said before anything is compiled.

Bytes and operations are counted by hand (`rats_jax.models.memory`, `rats_jax.models.flops`).
"""

import math
import time

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options, step_bytes
from rats_jax.dino.schedules import Schedules
from rats_jax.errors import UserError
from rats_jax.models.flops import image_flops
from rats_jax.parallel.mesh import batch_shards
from rats_jax.runs.memory import address_space_is_limited
from rats_jax.voice import say

GIB = 2**30
#: The run is refused where the estimate is more than this multiple of the memory.
CLEARLY = 1.5
#: Seconds of a step from which a CPU's user is warned.
SLOW = 60
#: Share of the speed of a large matrix product that the products of a training step reach.
REACHED = 0.5
MOST_FLOPS = 4e12  # a second, of any CPU: steps that are fast even at a fiftieth are not measured
TIMING_SECONDS, SIDE = 0.2, 1024


def check_memory(config: ConfigDict, mesh: Mesh, memory: int | None) -> None:
    """Warns where a step needs more memory than a device has, by estimate; raises UserError where
    it needs far more. memory: bytes of a device; None if not known."""
    if memory is None:
        return
    needs = step_bytes(config, mesh).peak
    if needs <= memory:
        return
    line = (
        f"a training step needs about {needs / GIB:,.1f} GiB of memory by estimate, and "
        f"{memory / GIB:,.1f} GiB may be used {_where(mesh)}: {_remedy(config, mesh, memory)}"
    )
    if needs > CLEARLY * memory:
        raise UserError(line)
    say(f"warning: {line}")


def _where(mesh: Mesh) -> str:
    if mesh.devices.flat[0].platform != "cpu":
        return "on each device"
    limited = " (ulimit -v is set)" if address_space_is_limited() else ""
    return f"{'here' if mesh.size == 1 else 'by each CPU device'}{limited}"


def _remedy(config: ConfigDict, mesh: Mesh, memory: int) -> str:
    """What to set, the least change first."""
    share = config.optimizer.batch_size // batch_shards(mesh)
    now = config.optimizer.accumulation
    tried = config.copy_and_resolve_references()
    if tried.model.remat == "none":
        tried.model.remat = "dots"
    for parts in (parts for parts in range(now, share + 1) if share % parts == 0):
        tried.optimizer.accumulation = parts
        if step_bytes(tried, mesh).peak <= memory:
            pairs = {"model.remat": tried.model.remat, "optimizer.accumulation": parts}
            had = {"model.remat": config.model.remat, "optimizer.accumulation": now}
            flags = [f"--config.{n}={x}" for n, x in pairs.items() if x != had[n]]
            return f"set {' '.join(flags)}, or lower config.optimizer.batch_size"
    return (
        "not even one image at once fits; take a smaller model (--config.model.size=Ti), smaller "
        "crops (config.crops), fewer config.head.prototypes, or more memory"
    )


def slow_steps(config: ConfigDict, mesh: Mesh, schedules: Schedules) -> list[str]:
    """A line for a CPU whose steps would take minutes, by estimate."""
    if mesh.devices.flat[0].platform != "cpu":
        return []
    flops = step_flops(config) / jax.process_count()
    if flops < SLOW * MOST_FLOPS / 50:
        return []
    rate = cpu_rate(config.compute_dtype)
    seconds = flops / rate
    return [slow_line(seconds, schedules.steps)] if seconds > SLOW else []


def slow_line(seconds: float, steps: int) -> str:
    return (
        f"a step takes about {_time(seconds)} on this CPU by estimate, if nothing else "
        f"uses it, and the {steps:,} steps {_time(seconds * steps)}: on a CPU try --config=demo, "
        "or a smaller model, such as --config.model.size=Ti --config.model.patch=8 "
        "--config.crops.global_size=64 --config.crops.local_size=32 "
        "--config.crops.local_crops=4, and fewer epochs"
    )


def step_flops(config: ConfigDict) -> float:
    """Floating-point operations of a training step, of all devices together."""
    losses = config.model.heads if config.dino.loss_scope == "head" else 1
    of_image = image_flops(
        backbone_options(config),
        crops=config.crops,
        head=config.head,
        remat=config.model.remat,
        losses=losses,
    )
    return config.optimizer.batch_size * sum(of_image.values())


def cpu_rate(dtype: str) -> float:
    """Operations a second that a training step is expected to reach, by the fastest of several
    products: others may use the CPU too."""
    square = jnp.ones((SIDE, SIDE), dtype)
    product = jax.jit(jnp.matmul)
    product(square, square).block_until_ready()
    best, end = math.inf, time.perf_counter() + TIMING_SECONDS
    while (start := time.perf_counter()) < end or best == math.inf:
        product(square, square).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return REACHED * 2 * SIDE**3 / best


def _time(seconds: float) -> str:
    for name, unit in (("year", 31_557_600), ("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * unit:
            return f"{_digits(seconds / unit)} {name}s"
    return f"{_digits(seconds)} seconds"


def _digits(value: float) -> str:
    """Two digits."""
    whole = round(value, 1 - math.floor(math.log10(value))) if value else 0
    return f"{whole:,.0f}" if value >= 9.95 else f"{whole:g}"
