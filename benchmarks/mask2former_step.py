"""Time a training step of `rats finetune --decoder=mask2former`, and its memory.

python benchmarks/mask2former_step.py [--size=S] [--pixels=512] [--batch=1] [--dtype=float32]
    [--steps=2] [--queries=registers,learned] [--remat=none] [--classes=150] [--objects=10]

A step is forward, losses, backward, clipping and AdamW, with the settings of the recipe ade20k: RATS
of a size in its Eq. 8 form with random weights, and images of noise with so many masks each. On the GPU if there is one, whose recipe is --batch=8 --dtype=bfloat16 (ADE20K; COCO:
--pixels=1024 --classes=80 --remat=full). Every row is measured in a separate process. Peak memory
is torch's count on a GPU, and on a CPU the largest resident memory of the process, libraries
included. On a busy CPU, read the CPU time, which is the sum over its threads.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import torch
from absl import app, flags
from flax import nnx
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax.backbones import Backbone  # noqa: E402
from rats_jax.config_flag import load_recipe  # noqa: E402
from rats_jax.finetuning.mask2former.groups import parameter_groups  # noqa: E402
from rats_jax.finetuning.mask2former.model import Segmenter, make_model  # noqa: E402
from rats_jax.models import SIZES, make_backbone, options_of  # noqa: E402

SIZE = flags.DEFINE_enum("size", "S", tuple(SIZES), "Of RATS, with patches of 16 pixels.")
PIXELS = flags.DEFINE_integer("pixels", 512, "Height and width.")
BATCH = flags.DEFINE_integer("batch", 1, "Images.")
DTYPE = flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Of autocast.")
STEPS = flags.DEFINE_integer("steps", 2, "Timed steps, after one that is not.")
QUERIES = flags.DEFINE_list("queries", ["registers", "learned"], "The rows.")
REMAT = flags.DEFINE_enum("remat", "none", ("none", "full"), "Activation checkpointing.")
CLASSES = flags.DEFINE_integer("classes", 150, "Of the data set.")
OBJECTS = flags.DEFINE_integer("objects", 10, "Masks of an image.")
ROW = flags.DEFINE_string("row", "", "Measure one row, and print it.")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def recipe(queries: str) -> ConfigDict:
    """The config of ade20k with these queries."""
    config = load_recipe("ade20k")
    config.decoder.queries, config.model.remat = queries, REMAT.value
    return config


def make(config: ConfigDict) -> Segmenter:
    """The model on RATS with random weights."""
    jax.config.update("jax_platforms", "cpu")  # JAX would reserve most of a GPU's memory
    options = options_of({"architecture": "rats", **SIZES[SIZE.value]})
    graph, state = nnx.split(make_backbone(options, rngs=nnx.Rngs(0)))
    backbone = Backbone(options, graph, nnx.to_pure_dict(state), "random weights")
    return make_model(backbone, config, classes=[str(i) for i in range(CLASSES.value)])


def draw() -> tuple[torch.Tensor, list[tuple]]:
    """Images of noise; masks that are bands of the image."""
    side, count = PIXELS.value, OBJECTS.value
    images = torch.randint(0, 256, (BATCH.value, 3, side, side), device=DEVICE).float()
    rows = torch.arange(side, device=DEVICE) * count // side
    masks = (rows == torch.arange(count, device=DEVICE)[:, None])[..., None].expand(-1, -1, side)
    classes = torch.arange(count, device=DEVICE) % CLASSES.value
    return images, [(masks, classes)] * BATCH.value


def measure(queries: str) -> dict:
    """One row: seconds and CPU seconds of each timed step, peak bytes, number of parameters."""
    config = recipe(queries)
    model = make(config).to(DEVICE).train()
    groups = parameter_groups(model, config)
    optimizer = torch.optim.AdamW(groups)
    images, targets = draw()

    def step() -> tuple[float, float]:
        started = time.perf_counter(), time.process_time()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DTYPE.value == "bfloat16"):
            loss = model(images, targets)[2]["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started[0], time.process_time() - started[1]

    if DEVICE == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    step()
    seconds = [step() for _ in range(STEPS.value)]
    peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else peak_resident()
    return {
        "seconds": seconds,
        "peak": peak,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "queries": model.network.config.num_queries,
    }


def peak_resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measured_apart(queries: str) -> dict:
    """`measure` in a separate process."""
    command = [sys.executable, __file__, *sys.argv[1:], f"--row={queries}"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def main(_) -> None:
    if ROW.value:
        print(json.dumps(measure(ROW.value)))
        return
    name = (
        torch.cuda.get_device_name() if DEVICE == "cuda" else f"{torch.get_num_threads()} threads"
    )
    print(
        f"{DEVICE} ({name}), torch {torch.__version__}, {DTYPE.value}, RATS-{SIZE.value}, ", end=""
    )
    print(f"batch {BATCH.value} of {PIXELS.value} px, remat {REMAT.value}")
    columns = ("queries", "parameters", "s a step", "CPU s", "images/s", "peak GB")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for queries in QUERIES.value:
        row = measured_apart(queries)
        seconds, of_cpu = (statistics.median(x) for x in zip(*row["seconds"], strict=True))
        print(
            f"| {row['queries']}, {queries} | {row['parameters'] / 1e6:.2f} M | {seconds:.2f} | "
            f"{of_cpu:.2f} | {BATCH.value / seconds:.3g} | {row['peak'] / 1e9:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
