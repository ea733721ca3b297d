"""The bytes of a training step by hand, compared with what a compiler plans.

python benchmarks/step_bytes.py [--topology=cpu:1] [--dtype=float32] [--rows=PATTERN]

Compiles the step of each row (half a minute to some minutes each) and prints a table: state, what
is kept for the backward pass, the peak by hand (`rats_jax.models.memory`), the compiler's peak, and
their ratio. The CPU's compiler computes bfloat16 in float32, so rows for it are in float32; a TPU's
compiler (--topology=v5e:1x1 --dtype=bfloat16) needs requirements-tpu.txt.
"""

import re
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax import command_line  # noqa: E402
from rats_jax.config import default_config  # noqa: E402
from rats_jax.models import SIZES  # noqa: E402
from rats_jax.planning.topology import open_hardware  # noqa: E402
from rats_jax.voice import say  # noqa: E402

TOPOLOGY = flags.DEFINE_string("topology", "cpu:1", "What to compile for.")
DTYPE = flags.DEFINE_string("dtype", "float32", "config.compute_dtype of all rows.")
ROWS = flags.DEFINE_string("rows", "", "A regular expression: only rows in which it is found.")

#: Architecture, size, images, parts, remat, prototypes.
CASES = (
    "rats Ti 8 1 none 65536",
    "rats Ti 8 1 dots 65536",
    "rats Ti 8 1 full 65536",
    "rats Ti 1 1 dots 65536",
    "rats Ti 16 1 dots 65536",
    "rats Ti 16 4 dots 65536",
    "rats Ti 8 1 none 1024",
    "rats Ti 8 1 dots 262144",
    "vit Ti 8 1 none 65536",
    "vit Ti 8 1 dots 65536",
    "perceiver Ti 8 1 none 65536",
    "perceiver Ti 8 1 dots 65536",
    "rats S 8 1 dots 65536",
    "rats S 8 1 full 65536",
    "rats S 8 2 full 1024",
    "vit S 8 1 dots 65536",
    "rats B 1 1 dots 1024",
    "rats B 8 1 none 1024",
    "rats B 8 1 dots 1024",
    "rats B 8 1 full 1024",
)
COLUMNS = (
    *("backbone", "images", "parts", "remat", "prototypes"),
    *("state", "kept", "peak by hand", "peak by the compiler", "ratio"),
)


def main() -> None:
    hardware = open_hardware(TOPOLOGY.value)
    say(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for case in CASES:
        if re.search(ROWS.value, case):
            say(f"| {' | '.join(row(case, hardware))} |")


def row(case: str, hardware) -> list[str]:
    from rats_jax.parallel.mesh import batch_shards
    from rats_jax.planning.by_hand import step_bytes
    from rats_jax.planning.compiled import compile_step

    architecture, size, images, parts, remat, prototypes = case.split()
    config = default_config()
    config.compute_dtype = DTYPE.value
    config.data.update(path="none", length=100_000)  # nothing is read
    config.model.update(SIZES[size], architecture=architecture, remat=remat)
    config.head.prototypes = int(prototypes)
    config.optimizer.update(batch_size=int(images) * len(hardware.devices), accumulation=int(parts))
    step = compile_step(config, hardware)
    counted = step_bytes(config, batch_shards(step.mesh))
    figures = (counted.state, counted.kept, counted.peak, step.needs)
    sizes = [f"{count / 1e9:.2f} GB" for count in figures]
    names = [f"{architecture} {size}", images, parts, remat, prototypes]
    return [*names, *sizes, f"{counted.peak / step.needs:.2f}"]


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose rows with a smaller batch")
