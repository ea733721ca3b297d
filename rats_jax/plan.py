"""rats plan --config=RECIPE [--topology=v5e:16x16] [--config.FIELD=VALUE ...]

Compiles the training step for hardware that need not be there, and says in a page what it takes
and what bounds its speed; to machines with --json=FILE, or --json for standard output. Exit status
0 where it fits, 1 where it does not: then other settings are tried until one does.
"""

import json
import os
import shlex
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from rats_jax import command_line, config_flag
from rats_jax.errors import UserError
from rats_jax.files import write_whole
from rats_jax.paths import local_path
from rats_jax.voice import say

CONFIG = config_flag.define_config()
TOPOLOGY = flags.DEFINE_string(
    "topology", "", "v5e:16x16, v5p:2x2x4, v6e:8x8, cpu:8 and the like; the devices at hand if not."
)
SLICES = flags.DEFINE_integer("slices", 1, "How many such slices, for TPUs.", lower_bound=1)
IMAGES = flags.DEFINE_integer(
    "images", 0, "Images of an epoch, where config.data.length is 0.", lower_bound=0
)
ADVICE = flags.DEFINE_bool("advice", True, "Where it does not fit, try what would.")
JSON = flags.DEFINE_string("json", "", "A file for all figures; without one, standard output.")


def main() -> None:
    from rats_jax.planning.topology import open_hardware

    config = config_flag.read_config(CONFIG)
    to_file = _json_file(JSON.value) if JSON.value not in ("", "-") else None
    hardware = open_hardware(TOPOLOGY.value, slices=SLICES.value)
    # Imported here: these use no device, but JAX must first be configured for the hardware.
    from rats_jax.config import schedules
    from rats_jax.planning.compiled import compile_step
    from rats_jax.planning.figures import figures
    from rats_jax.planning.report import page
    from rats_jax.runs.spans import span_warnings

    images = IMAGES.value or config.data.length
    config, chosen = _without_automatic(config, hardware, images)
    warnings = span_warnings(config, schedules(config, images=images)) if images else []
    tell = (lambda _: None) if JSON.value == "-" else say
    for line in chosen:
        tell(line)
    tell(f"compiling the training step for {hardware.description}: minutes for a large model")
    step = compile_step(config, hardware)
    plan = figures(config, hardware, step, images=IMAGES.value)
    tell("\n".join(page(plan)))
    if images:
        plan["warnings"] = warnings
        for line in warnings:
            tell(f"warning: {line}")
    if not plan["fits"] and ADVICE.value:
        plan["advice"] = _advise(config, hardware, step, tell)
    if JSON.value == "-":
        say(json.dumps(plan))
    elif to_file:
        new = to_file.with_name(f"{to_file.name}.{os.getpid()}")
        write_whole(to_file, json.dumps(plan, indent=2) + "\n", new=new)
    if not plan["fits"]:
        sys.exit(1)


def _without_automatic(config, hardware, images: int) -> tuple[ConfigDict, list[str]]:
    """The config with a value for each automatic field, and lines that say what was chosen."""
    from rats_jax.assemble import without_automatic
    from rats_jax.config.automatic import automatic_fields, table

    if not (wanted := automatic_fields(config)):
        return config, []
    if not images:
        raise UserError(
            f"config.{min(wanted)} is chosen by the number of images: say how many, --images=10000"
        )
    config, choices = without_automatic(
        config,
        images=images,
        memory=hardware.memory,
        devices=hardware.devices,
        on_cpu=hardware.chip is None and hardware.devices[0].platform == "cpu",
    )
    return config, [f"chosen automatically for {images:,} images:", *table(choices)]


def _json_file(given: str) -> Path:
    """The file that --json names. Raises UserError early if it could not be written later."""
    file = local_path(given)
    if not file.parent.is_dir():
        raise UserError(f"--json={file}: there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise UserError(f"--json={file} is a folder: name a file in it, such as {file}/plan.json")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise UserError(f"--json={file}: {file.parent} cannot be written to; choose another folder")
    return file


def _advise(config, hardware, step, tell) -> dict:
    """Reports each try; returns {"tries": [...], "command": str or None}."""
    from rats_jax.planning.advice import find_what_fits
    from rats_jax.planning.report import GiB

    tell("\ntrying what would fit, the likely fastest first:")
    tries, command = [], None
    for found in find_what_fits(config, hardware, step):
        options = " ".join(f"--config.{name}={value}" for name, value in found.changes.items())
        compiled = found.step is not None
        result = "fits" if found.fits else "does not fit"
        if not compiled:
            result = "cannot fit, by the others"
        least = "" if compiled and found.step.memory else "at least "
        took = f", compiled in {found.step.seconds:.0f} s" if compiled else ""
        tell(f"  {options}: {result}, {least}{found.needs / GiB:.2f} GiB a chip{took}")
        tries.append(
            {"changes": found.changes, "compiled": compiled, "needs": found.needs}
            | {"fits": found.fits}
        )
        if found.fits:
            given = shlex.join(sys.argv[1:])
            command = f"{shlex.quote(sys.executable)} -m rats_jax.plan {given} {options}"
    if command:
        tell(f"\nthis fits (rats_jax.train takes the same fields):\n  {command}")
    else:
        tell("\nnothing of this fits: take more chips, or a larger kind")
    return {"tries": tries, "command": command}


if __name__ == "__main__":
    sys.argv = ["--json=-" if argument == "--json" else argument for argument in sys.argv]
    command_line.run(
        main,
        out_of_memory="plan for a smaller config.optimizer.batch_size, or on another machine",
    )
