"""What augmentation on the device costs beside the training step: photometrics, and crops cut out
of canvases.

python benchmarks/augmentation.py --config=configs/rats_s16_in1k.py [--batch_size=4] [--repeats=7]
JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 python benchmarks/augmentation.py
    --config=configs/rats_s16_in1k.py --topology=v5e:2x2 [--batch_size=32]

The first times the three in turn, on the device that is there, and prints medians. The second
compiles them for one chip of a TPU that need not be there (pip install -r requirements-tpu.txt; 3
minutes, with --config.model.unroll=12, which is the faster step, 15) and prints XLA's estimates:

  Mcycles    of all operations one after the other, loops by their number of turns
  share      of the step's
  GFLOP, GB  what is multiplied and what is moved, and the time of the longer of the two at 197
             TFLOP/s and 819 GB/s (a v5e); the body of a loop counts once in these
  temporary  MB of the chip's memory beside arguments and results
"""

import functools
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict, config_flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.workers import JaxSide  # noqa: E402
from rats_jax import command_line  # noqa: E402
from rats_jax.assemble import make_dino  # noqa: E402
from rats_jax.data.crops import GLOBAL_CROPS, MultiCrop  # noqa: E402
from rats_jax.data.device_crops import crop_canvases  # noqa: E402
from rats_jax.dino.augment import photometrics  # noqa: E402
from rats_jax.planning.hlo import read_program  # noqa: E402
from rats_jax.validation import validate  # noqa: E402
from rats_jax.voice import say  # noqa: E402

CONFIG = config_flags.DEFINE_config_file("config", help_string="Recipe, by name or path.")
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 0, "Images a step; 0: 32 with a topology, else as in train_step.py."
)
REPEATS = flags.DEFINE_integer("repeats", 7, "Turns of each.", lower_bound=1)
TOPOLOGY = flags.DEFINE_string("topology", "", "TPU to compile for, such as v5e:2x2.")

CANVAS = 512
PHOTO = (375, 500)  # height and width of the images on the canvases
FLOPS, BANDWIDTH = 197e12, 819e9  # of a v5e, a second


def random_batch(crops: MultiCrop, images: int) -> dict[str, dict[str, np.ndarray]]:
    """Noise as it reaches the device: {"crops": what photometrics take, "canvases": what
    crop_canvases does}."""
    rng = np.random.default_rng(0)
    sizes = {"global": (GLOBAL_CROPS, crops.global_size)}
    sizes["local"] = (crops.local_crops, crops.local_size)
    canvas = np.zeros((images, CANVAS, CANVAS, 3), np.uint8)
    canvas[:, : PHOTO[0], : PHOTO[1]] = rng.integers(0, 256, (*PHOTO, 3), np.uint8)
    drawn = [crops.draw(PHOTO[::-1], rng) for _ in range(images)]
    return {
        "crops": {
            name: rng.integers(0, 256, (images, views, size, size, 3), np.uint8)
            for name, (views, size) in sizes.items()
        },
        "canvases": {
            "canvas": canvas,
            "boxes": np.float32([boxes for boxes, _ in drawn]),
            "flips": np.array([flips for _, flips in drawn]),
        },
    }


def augment(key: np.ndarray, crops: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Photometrics, from the data of a key."""
    return photometrics(jax.random.wrap_key_data(key), crops)


def measure(config: ConfigDict) -> None:
    """Prints seconds an image of each, medians of turns."""
    side = JaxSide(config.to_dict(), BATCH_SIZE.value, "")
    crops = MultiCrop(**config.crops)
    batch = jax.device_put(random_batch(crops, side.batch_size))
    cut = functools.partial(
        crop_canvases, global_size=crops.global_size, local_size=crops.local_size
    )
    cut, colour = jax.jit(cut), jax.jit(augment)
    key = np.array([0, 1], np.uint32)
    programs = {
        "photometrics": lambda: jax.block_until_ready(colour(key, batch["crops"])),
        "crops": lambda: jax.block_until_ready(cut(batch["canvases"])),
        "step": lambda: side.run(1),
    }
    for run in programs.values():
        run()  # compiles
    seconds = {name: [] for name in programs}
    for _ in range(REPEATS.value):
        for name, run in programs.items():
            start = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - start) / side.batch_size)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    device = f"{side.device.platform} {side.device.device_kind}"
    say(f"{device}, {side.dtype}, batch {side.batch_size}, median of {REPEATS.value} turns")
    say(f"{'':14}{'ms an image':>12}{'share':>9}")
    for name, median in medians.items():
        say(f"{name:14}{median * 1e3:12.2f}{median / medians['step']:9.2%}")


def estimate(config: ConfigDict) -> None:
    """Prints what XLA says of programs compiled for one chip of the topology."""
    chip = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY.value).devices[0]
    images, crops = BATCH_SIZE.value or 32, MultiCrop(**config.crops)
    dino = make_dino(config, images=max(config.data.length, config.optimizer.batch_size))

    def described(tree):
        sharding = SingleDeviceSharding(chip)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    batch = described(random_batch(crops, images))
    normalised = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32, sharding=x.sharding), batch["crops"]
    )
    cut = functools.partial(
        crop_canvases, global_size=crops.global_size, local_size=crops.local_size
    )
    programs = {
        "step": (jax.jit(dino.step, donate_argnums=0), jax.eval_shape(dino.init, 0), normalised),
        "photometrics": (jax.jit(augment), np.zeros(2, np.uint32), batch["crops"]),
        "crops": (jax.jit(cut), batch["canvases"]),
    }
    say(f"{chip.device_kind}, {config.compute_dtype}, {images} images")
    columns = ("Mcycles", "share", "GFLOP", "GB", "roofline ms", "temporary")
    say(f"{'':14}" + "".join(f"{column:>12}" for column in columns))
    of_step = None
    for name, (program, *arguments) in programs.items():
        compiled = program.lower(*described(arguments)).compile()
        cycles = read_program(compiled.as_text()).estimated_cycles
        of_step = of_step or cycles
        cost = compiled.cost_analysis()
        products, moved = cost["flops"], cost["bytes accessed"]
        roofline = max(products / FLOPS, moved / BANDWIDTH)
        temporary = compiled.memory_analysis().temp_size_in_bytes
        say(
            f"{name:14}{cycles / 1e6:12.1f}{cycles / of_step:12.1%}{products / 1e9:12.1f}"
            f"{moved / 1e9:12.2f}{roofline * 1e3:12.2f}{temporary / 1e6:12.0f}"
        )


def main() -> None:
    config = command_line.read_config(CONFIG)
    validate(config)
    if TOPOLOGY.value:
        estimate(config)
    else:
        measure(config)


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller batch, or a smaller model")
