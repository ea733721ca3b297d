"""What checkpoints cost: a small model's training, and saving and restoring a large one.

python benchmarks/checkpoint.py [--small=configs/demo.py] [--large=configs/rats_b16_in1k.py]
    [--turns=7] [--folder=DIR]

For the small model turns with a save and without follow each other, of as many steps each: the
difference is what a save costs, in the call and in the steps after it, with which the writing
shares the processor. No data is read: the crops are noise.

The large model's state is noise as well, which does not compress, and is read back both from the
memory that the system keeps of files and, as after a restart of the machine, from the disk.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.workers import random_crops  # noqa: E402
from rats_jax import command_line  # noqa: E402
from rats_jax.assemble import make_dino  # noqa: E402
from rats_jax.config import default_config  # noqa: E402
from rats_jax.runs.checkpoints.checkpoint import Checkpoints  # noqa: E402
from rats_jax.runs.checkpoints.fingerprint import fingerprints  # noqa: E402
from rats_jax.runs.checkpoints.stored_state import read_arrays  # noqa: E402
from rats_jax.voice import say  # noqa: E402

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL = config_flags.DEFINE_config_file("small", str(CONFIGS / "demo.py"), help_string="Trained.")
LARGE = config_flags.DEFINE_config_file(
    "large", str(CONFIGS / "rats_b16_in1k.py"), help_string="Saved and restored."
)
TURNS = flags.DEFINE_integer("turns", 7, "Of each kind.", lower_bound=2)
FOLDER = flags.DEFINE_string("folder", None, "Where to save; by default that of temporary files.")
SECONDS = 10  # of a turn, at least


def seconds(function, *arguments) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def gigabytes(state) -> float:
    return sum(x.nbytes for x in jax.tree.leaves(state)) / 1e9


def while_training(config: ConfigDict, folder: Path) -> None:
    config.compute_dtype = "float32" if jax.default_backend() == "cpu" else config.compute_dtype
    dino = make_dino(config, images=max(config.data.length, config.optimizer.batch_size))
    crops = jax.device_put(random_crops(config.to_dict(), config.optimizer.batch_size))
    state = jax.jit(dino.init, static_argnums=0)(config.seed)
    step = jax.jit(dino.step, donate_argnums=0).lower(state, crops).compile()
    number, about = 0, {"config": config.to_dict()}

    def train(steps: int) -> None:
        nonlocal state, number
        before = None
        for _ in range(steps):
            state, metrics = step(state, crops)
            if before is not None:
                before.block_until_ready()  # the host runs one step ahead, as in training
            before = metrics["loss"]
            number += 1
            checkpoints.check()
        jax.block_until_ready(state)

    def save() -> None:
        checkpoints.save(number, state, about=about, metrics={"loss": 0.0})

    def turn(saves: bool) -> np.ndarray:
        """Seconds, and CPU seconds of all threads."""
        start = np.array([time.perf_counter(), time.process_time()])
        if saves:
            calls.append(seconds(save))
        train(steps)
        if saves:
            checkpoints.finish()
        return np.array([time.perf_counter(), time.process_time()]) - start

    with Checkpoints(folder / "small", keep=2) as checkpoints:
        train(2)
        first, calls = seconds(save), []
        checkpoints.finish()
        steps = max(round(SECONDS / seconds(train, 1)), 1)
        pairs = [(turn(False), turn(True)) for _ in range(TURNS.value)]
    each = np.median([without for without, _ in pairs], axis=0) / steps
    costs = np.sort([with_it - without for without, with_it in pairs], axis=0)
    say(f"{gigabytes(state) * 1e3:.1f} MB of state, turns of {steps} steps")
    call = statistics.median(calls)
    say(f"  the call alone {call:.3f} s; the first, which compiles, {first:.1f} s")
    interval = default_config().run.checkpoint_every
    for kind, a_step, cost in zip(("wall clock", "CPU time"), each, costs.T, strict=True):
        share = 100 * cost / (interval * a_step)
        say(
            f"  {kind}: {a_step:.3f} s a step, {np.median(cost):.3f} s a save, of {interval} steps "
            f"{np.median(share):.3f} % ({share[0]:.3f} to {share[-1]:.3f})"
        )


def of_a_large_state(config: ConfigDict, folder: Path) -> None:
    config.data.path = config.data.path or "none"  # nothing is read
    dino = make_dino(config, images=max(config.data.length, config.optimizer.batch_size))
    shapes, tree = jax.tree.flatten(jax.eval_shape(dino.init, config.seed))
    keys = jax.random.split(jax.random.key(0), len(shapes))
    bits = jax.jit(lambda key, x: jax.random.normal(key, x.shape).astype(x.dtype), static_argnums=1)
    state = tree.unflatten([bits(key, x) for key, x in zip(keys, shapes, strict=True)])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    size = gigabytes(state)
    say(f"{size:.3f} GB of state")

    def tell(what: str, took: list[float]) -> None:
        middle, each = statistics.median(took), " ".join(f"{t:.2f}" for t in took)
        say(f"  {what:35} {middle:6.2f} s {size / middle:6.2f} GB/s  ({each})")

    tell("fingerprints, compiling", [seconds(fingerprints, state)])
    times = {name: [] for name in ("call", "saved", "prints", "cached", "arrays", "disk")}
    with Checkpoints(folder / "large") as checkpoints:
        for step in range(1, TURNS.value // 2 + 2):
            times["prints"].append(seconds(fingerprints, state))
            start = time.perf_counter()
            checkpoints.save(step, state, about={}, metrics={})
            times["call"].append(time.perf_counter() - start)
            checkpoints.finish()
            times["saved"].append(time.perf_counter() - start)
            at = folder / "large" / "checkpoints" / str(step)
            times["cached"].append(seconds(lambda: checkpoints.restore(like).state))
            times["arrays"].append(seconds(read_arrays, at, like))
            forget(at)
            times["disk"].append(seconds(lambda: checkpoints.restore(like).state))
    tell("fingerprints", times["prints"])
    tell("save, the call", times["call"])
    tell("save, until it is complete", times["saved"])
    tell("restore, files in memory", times["cached"])
    tell("the same without fingerprints", times["arrays"])
    tell("restore, from the disk", times["disk"])


def forget(folder: Path) -> None:
    """The system's memory of the files is let go."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    device = jax.devices()[0].device_kind
    say(f"{device}, {os.cpu_count()} CPU cores, jax {jax.__version__}")
    with tempfile.TemporaryDirectory(dir=FOLDER.value) as folder:
        folder = Path(folder)
        for name in ("small", "large"):
            (folder / name).mkdir()
        while_training(SMALL.value, folder)
        of_a_large_state(LARGE.value, folder)


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller batch, or a smaller model")
