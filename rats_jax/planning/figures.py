"""The figures of a plan: one tree of numbers and names, which is also its JSON."""

import dataclasses
import math

import jax
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options
from rats_jax.config import schedules
from rats_jax.models.flops import image_flops
from rats_jax.parallel.mesh import batch_shards
from rats_jax.planning.activations import kept_stacks
from rats_jax.planning.by_hand import REALISTIC, memory_traffic, traffic_by_hand
from rats_jax.planning.collectives import collectives
from rats_jax.planning.compiled import Compiled, parameter_sizes, state_bytes
from rats_jax.planning.hardware import in_dtype
from rats_jax.planning.hbm import hbm_bytes
from rats_jax.planning.roofline import bound
from rats_jax.planning.topology import RESERVE, Hardware

#: Images per second that a core prepares, see docs/performance.md.
CORE = {"exact": 117, "fast": 430, "canvas": 1000}


def figures(config: ConfigDict, hardware: Hardware, step: Compiled, *, images: int = 0) -> dict:
    """Bytes, FLOPs and seconds; None if a figure is not known.

    images: of an epoch; 0 for config.data.length.
    """
    batch, parts = config.optimizer.batch_size, config.optimizer.accumulation
    shards, chips = batch_shards(step.mesh), step.mesh.size
    fits = None if hardware.memory is None else step.needs <= hardware.memory
    plan = {
        "hardware": hardware.description,
        "chips": chips,
        "hosts": hardware.hosts,
        "slices": hardware.slices,
        "mesh": dict(step.mesh.shape),
        "compute_dtype": config.compute_dtype,
        "remat": config.model.remat,
        "by_hand": hardware.by_hand,
        "batch": {
            "global": batch,
            "per_host": batch / hardware.hosts,
            "per_chip": batch / chips,
            "accumulation": parts,
            # With tensor parallelism several chips share the images of a shard.
            "micro_batch_per_shard": batch // shards // parts,
        },
        "parameters": _parameters(step.state),
        "state_bytes_per_chip": state_bytes(step.state),
        "compile_seconds": step.seconds,
        "fits": fits is not False,
        "memory": {"capacity": hardware.memory, "peak": step.needs},
        "flops_per_image": _flops(config),
    }
    images = images or config.data.length
    if step.counted:
        return plan | _counted(config, hardware, step, plan, images)
    if step.memory is None:
        return plan
    plan["memory"] |= dataclasses.asdict(step.memory) | {"kept": _kept(config, step)}
    sizes = parameter_sizes(step.state)
    traffic = collectives(step.program, dict(step.mesh.shape), parameters=sizes)
    plan["collectives"] = [dataclasses.asdict(row) for row in traffic]
    plan["hbm_bytes_per_step"] = hbm_bytes(step.program)
    cycles = step.program.estimated_cycles
    plan["xla_estimated_cycles"] = cycles or None
    plan["speed"] = None
    if hardware.chip:
        plan["speed"] = _speed(config, hardware, plan, traffic, images)
    return plan


def _counted(config: ConfigDict, hardware: Hardware, step: Compiled, plan: dict, images: int):
    """The figures of a step that was counted by hand, beside those of every plan."""
    counted, traffic = step.counted, traffic_by_hand(config, step)
    share = config.optimizer.batch_size // config.optimizer.accumulation // batch_shards(step.mesh)
    kept = {"bytes": counted.kept, "per_image": counted.kept / share}
    board = hardware.chip.total
    needed = counted.peak / (1 - RESERVE) / board
    more = {
        "memory": plan["memory"]
        | {"board": board, "fraction": hardware.fraction, "reserve": RESERVE}
        | {"fraction_needed": needed, "kept": kept},
        "collectives": [dataclasses.asdict(row) for row in traffic],
        "hbm_bytes_per_step": memory_traffic(config, step),
        "xla_estimated_cycles": None,
    }
    speed = _speed(config, hardware, plan | more, traffic, images)
    low, high = (speed["step_seconds"] * factor for factor in REALISTIC)
    days = [speed["days"] * factor for factor in REALISTIC] if images else None
    rates = [config.optimizer.batch_size / seconds for seconds in (high, low)]
    speed["realistic"] = {
        "step_seconds": [low, high],
        "images_per_second": rates,
        "days": days,
    }
    return more | {"speed": speed}


def _parameters(state: dict) -> dict[str, int]:
    return {
        name: sum(x.size for x in jax.tree.leaves(part)) for name, part in state["student"].items()
    }


def _flops(config: ConfigDict) -> dict[str, int]:
    losses = config.model.heads if config.dino.loss_scope == "head" else 1
    parts = image_flops(
        backbone_options(config),
        crops=config.crops.to_dict(),
        head=config.head.to_dict(),
        remat=config.model.remat,
        losses=losses,
    )
    model = parts["teacher"] + parts["student"] + parts["backward"]
    return parts | {"model": model, "hardware": model + parts["recomputed"]}


def _kept(config: ConfigDict, step: Compiled) -> dict | None:
    """The bytes that blocks keep for the backward pass. `per_image`: for the share of a chip."""
    images = config.optimizer.batch_size // config.optimizer.accumulation // batch_shards(step.mesh)
    crops = (2 * images, config.crops.local_crops * images)
    stacks = kept_stacks(step.program, crops=crops, parameters=parameter_sizes(step.state))
    if not stacks:
        return None
    total = sum(stack.bytes for stack in stacks)
    per_layer = total / images / config.model.depth
    tokens = _tokens(config)
    return {
        "bytes": total,
        "per_image": total / images,
        "per_image_per_layer": per_layer,
        "per_token_per_layer_per_width": per_layer / tokens / config.model.width,
        "stacks": [dataclasses.asdict(stack) for stack in stacks],
    }


def _tokens(config: ConfigDict) -> int:
    """Tokens of all crops of an image, including registers, [CLS] and latents."""
    options, crops = backbone_options(config), config.crops
    sides = [crops.global_size] * 2 + [crops.local_size] * crops.local_crops
    return sum(map(options.layer_tokens, sides))


def _speed(config, hardware: Hardware, plan: dict, traffic, images: int) -> dict:
    chip = in_dtype(hardware.chip, config.compute_dtype)
    batch, chips, flops = config.optimizer.batch_size, plan["chips"], plan["flops_per_image"]
    limits = bound(
        chip,
        flops=flops["hardware"] * batch / chips,
        hbm_bytes=plan["hbm_bytes_per_step"],
        traffic=traffic,
        mesh_shape=plan["mesh"],
        links=hardware.links,
        slices=hardware.slices,
    )
    seconds = limits.seconds
    rate = batch / seconds
    cropping = config.data.cropping
    speed = {
        "busy_seconds": dataclasses.asdict(limits),
        "bound_by": limits.by,
        "step_seconds": seconds,
        "mfu": flops["model"] * rate / chips / chip.flops,
        "images_per_second": rate,
        "images_per_second_per_host": rate / hardware.hosts,
        "cores_per_host": {
            name: math.ceil(rate / hardware.hosts / CORE[name])
            for name in dict.fromkeys((cropping, "canvas"))
        },
        "xla_estimated_seconds": None,
        "steps": None,
        "days": None,
    }
    if plan["xla_estimated_cycles"] and chip.clock:
        speed["xla_estimated_seconds"] = plan["xla_estimated_cycles"] / chip.clock
    if images:
        steps = schedules(config, images=images).steps
        speed |= {"steps": steps, "days": steps * seconds / 86400}
    return speed
