"""rats plan --config=RECIPE [--topology=v5e:16x16] [--config.FIELD=VALUE ...]

Compiles the training step for hardware that need not be available, and reports on one page the
memory that it needs and what limits its speed. For GPUs that are not available it counts both by
hand. --json=FILE writes the figures to a file, --json to standard output. The exit status is 0 if
the step fits in memory. If not, it is 1, and other settings are tried until some fit.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import ConfigDict

from rats_jax import command_line, config_flag
from rats_jax.data.counted import counted
from rats_jax.errors import UserError
from rats_jax.files import write_whole
from rats_jax.paths import local_path
from rats_jax.progress import reports_time
from rats_jax.voice import say

if TYPE_CHECKING:
    from rats_jax.config.automatic import Choice

CONFIG = config_flag.define_config()
TOPOLOGY = flags.DEFINE_string(
    "topology",
    "",
    "TPUs, as v5e:16x16, v5p:2x2x4 or v6e:8x8; GPUs, as h100:8, rtx4090, or a100:4x8 for 4 nodes "
    "of 8; simulated devices, as cpu:8. By default the devices of this machine.",
)
SLICES = flags.DEFINE_integer("slices", 1, "Number of such slices, for TPUs.", lower_bound=1)
IMAGES = flags.DEFINE_integer(
    "images", 0, "Images of an epoch, if config.data.length is 0.", lower_bound=0
)
ADVICE = flags.DEFINE_bool("advice", True, "If the step does not fit, find settings that do.")
JSON = flags.DEFINE_string(
    "json", "", "File for all figures, as JSON; without a file, standard output."
)


def main() -> None:
    from rats_jax.planning.topology import open_hardware

    config = config_flag.read_config(CONFIG)
    to_file = _json_file(JSON.value) if JSON.value not in ("", "-") else None
    hardware = open_hardware(TOPOLOGY.value, slices=SLICES.value)
    # Imported here: these use no device, but JAX must first be configured for the hardware.
    from rats_jax.config import schedules
    from rats_jax.config.automatic import table
    from rats_jax.config.sizes import with_size
    from rats_jax.planning.by_hand import count_step
    from rats_jax.planning.compiled import compile_step
    from rats_jax.planning.figures import figures
    from rats_jax.planning.report import page
    from rats_jax.runs.spans import span_warnings
    from rats_jax.validation import validate

    config = with_size(config)
    validate(config)  # rules for automatic values read the other fields
    images = IMAGES.value or config.data.length
    config, choices = _without_automatic(config, hardware, images)
    validate(config)
    warnings = span_warnings(config, schedules(config, images=images)) if images else []
    report = (lambda _: None) if JSON.value == "-" else say
    if choices:
        report(f"chosen automatically for {images:,} images:")
        report("\n".join(table(choices)))
    if hardware.by_hand:
        step = count_step(config, hardware)
    else:
        report(f"compiling the training step for {hardware.description}: minutes for a large model")
        with reports_time("  still compiling", report):
            step = compile_step(config, hardware)
    plan = figures(config, hardware, step, images=IMAGES.value)
    plan["automatic"] = [
        {"field": choice.field, "value": choice.value, "reason": choice.reason}
        for choice in choices
    ]
    report("\n".join(page(plan)))
    if images:
        plan["warnings"] = warnings
        for line in warnings:
            report(f"warning: {line}")
    if not plan["fits"] and ADVICE.value:
        plan["advice"] = _advise(config, hardware, step, report)
    if JSON.value == "-":
        say(json.dumps(plan))
    elif to_file:
        new = to_file.with_name(f"{to_file.name}.{os.getpid()}")
        write_whole(to_file, json.dumps(plan, indent=2) + "\n", new=new)
    if not plan["fits"]:
        sys.exit(1)


def _without_automatic(config, hardware, images: int) -> tuple[ConfigDict, list["Choice"]]:
    """The config with a value for each automatic field, and what was chosen."""
    from rats_jax.assemble import without_automatic
    from rats_jax.config.automatic import automatic_fields

    if not (wanted := automatic_fields(config)):
        return config, []
    if not images:
        raise UserError(
            "this config chooses fields by the number of images, such as "
            f"config.{max(wanted)}: say how many there are, --images=10000"
        )
    return without_automatic(
        config,
        images=images,
        memory=hardware.memory,
        devices=hardware.devices,
        on_cpu=hardware.chip is None and hardware.devices[0].platform == "cpu",
    )


def _json_file(given: str) -> Path:
    """The file that --json names. Raises UserError early if it could not be written later."""
    file = local_path(given)
    if not file.parent.is_dir():
        raise UserError(f"--json={file}: there is no folder {file.parent}; create it first")
    if file.is_dir():
        raise UserError(f"--json={file} is a folder: name a file in it, such as {file}/plan.json")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UserError(f"--json={file}: {file.parent} is not writable; choose another folder")
    return file


def _advise(config, hardware, step, report) -> dict:
    """Reports each try; returns {"tries": [...], "command": str or None}."""
    from rats_jax.planning.advice import find_what_fits
    from rats_jax.planning.by_hand import count_step
    from rats_jax.planning.compiled import compile_step
    from rats_jax.planning.report import changes_as_flags, tried

    def compile_and_report(config, hardware):
        parts = counted(config.optimizer.accumulation, "micro-batch")
        report(f"  compiling remat {config.model.remat}, {parts}, fsdp {config.mesh.fsdp}")
        with reports_time("    still compiling", report):
            return compile_step(config, hardware)

    report("\nfinding settings that fit, those that are probably fastest first:")
    tries, command = [], None
    compiler = count_step if hardware.by_hand else compile_and_report
    for found in find_what_fits(config, hardware, step, compile_step=compiler):
        options = changes_as_flags(found.changes)
        if found.fits or not hardware.by_hand:
            report(f"  {options}: {tried(found)}")
        compiled = found.step is not None and not hardware.by_hand
        tries.append(
            {"changes": found.changes, "compiled": compiled, "needs": found.needs}
            | {"fits": found.fits}
        )
        if found.fits:
            given = shlex.join(sys.argv[1:])
            command = f"rats plan {given} {options}"
    if command:
        report(f"\nthese settings fit (`rats train` takes the same fields):\n  {command}")
    else:
        report("\nnone of these settings fits: use more devices, or devices with more memory")
    return {"tries": tries, "command": command}


if __name__ == "__main__":
    sys.argv = ["--json=-" if argument == "--json" else argument for argument in sys.argv]
    command_line.run(
        main,
        out_of_memory="plan for a smaller config.optimizer.batch_size, or on another machine",
    )
