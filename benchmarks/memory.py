"""What the backward pass of a backbone needs of a TPU's memory, and what of it is what.

python benchmarks/memory.py [--config=configs/rats_b16_in1k.py] [--topology=v5e:1x1] [--crops=24]
    [--remat=none,dots,full]

Compiles the gradient of the backbone, for global and for local crops, for one chip of a TPU that
need not be there (pip install -r requirements-tpu.txt; six programs, each one to two minutes on 2
cores), and prints bytes by token, layer and unit of width:

  by hand   what `--remat` asks to be kept, in bf16: see `by_hand`
  kept      what the compiled loop over the blocks keeps for the backward pass
  padded    the same with what layouts add
  peak      all arrays on the way, with kernels in bf16, over the same number
  cycles    XLA's estimate, in millions, of all operations one after the other

and then, of each program, the arrays that are kept.
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict, config_flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax import command_line  # noqa: E402
from rats_jax.assemble import backbone_options, make_model  # noqa: E402
from rats_jax.errors import UserError  # noqa: E402
from rats_jax.planning.activations import Stack, kept_stacks  # noqa: E402
from rats_jax.planning.hlo import read_program  # noqa: E402
from rats_jax.planning.topology import open_hardware  # noqa: E402
from rats_jax.validation import validate  # noqa: E402
from rats_jax.voice import say  # noqa: E402

RECIPE = Path(__file__).parents[1] / "configs" / "rats_b16_in1k.py"
CONFIG = config_flags.DEFINE_config_file("config", str(RECIPE), help_string="Of plain RATS.")
TOPOLOGY = flags.DEFINE_string("topology", "v5e:1x1", "TPU to compile for.")
CROPS = flags.DEFINE_integer("crops", 24, "Crops in a batch.", lower_bound=1)
REMAT = flags.DEFINE_list("remat", ["none", "dots", "full"], "Which to compile.")


def by_hand(remat: str, *, patches: int, registers: int, mlp_ratio: int, heads: int) -> float:
    """Bytes of bf16 a layer and unit of width, of all tokens of a crop.

    A block keeps its input; "dots" too the query, key and value of patches and what attention adds
    to them, and the MLP's hidden layer; "none" all that goes into a product or a norm.
    """
    of_patch = {"full": 1, "dots": 5 + mlp_ratio, "none": 8 + 2 * mlp_ratio}[remat]
    of_register = {"full": 1, "dots": 1 + mlp_ratio, "none": 4 + 2 * mlp_ratio + 2 / heads}[remat]
    return 2 * (patches * of_patch + registers * of_register)


def measure(config: ConfigDict, pixels: int, device) -> tuple[dict, list[Stack]]:
    """Compiles one program: figures of its row, and what it keeps."""
    network, init = make_model(config)
    sharding = SingleDeviceSharding(device)

    def abstract(shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    params = jax.eval_shape(lambda: {"backbone": init(jax.random.key(0))["backbone"]})
    params = jax.tree.map(lambda x: abstract(x.shape, x.dtype), params)
    images = abstract((CROPS.value, pixels, pixels, 3))
    keep = abstract((config.model.depth, 2, CROPS.value))

    def objective(params, images, keep):
        vectors = network.features(params, images, keep=keep).global_vector
        return jnp.sum(vectors.astype(jnp.float32) ** 2)

    start = time.perf_counter()
    compiled = jax.jit(jax.grad(objective)).lower(params, images, keep).compile()
    seconds = time.perf_counter() - start
    program = read_program(compiled.as_text())
    sizes = {x.size for x in jax.tree.leaves(params)}
    stacks = kept_stacks(program, crops=(CROPS.value,), parameters=sizes)

    model, options = config.model, backbone_options(config)
    tokens = {"patches": options.patches(pixels), "registers": options.registers}
    units = sum(tokens.values()) * model.depth * model.width
    per_crop = 1 / CROPS.value / units
    remat, shape = model.remat, {"mlp_ratio": model.mlp_ratio, "heads": model.heads}
    row = {
        "by hand": by_hand(remat, **tokens, **shape) / sum(tokens.values()),
        "kept": sum(stack.bytes / stack.padding for stack in stacks) * per_crop,
        "padded": sum(stack.bytes for stack in stacks) * per_crop,
        "peak": compiled.memory_analysis().temp_size_in_bytes * per_crop,
        "MB a crop": sum(stack.bytes for stack in stacks) / CROPS.value / 1e6,
        "cycles": program.estimated_cycles / 1e6,
        "compile s": seconds,
    }
    return row, stacks


def main() -> None:
    config = CONFIG.value
    config.data.path = config.data.path or "none"  # nothing is read
    validate(config)
    if (config.model.architecture, config.model.parallel) != ("rats", "none"):
        raise UserError("only plain RATS is counted by hand: config.model.architecture=rats")
    hardware = open_hardware(TOPOLOGY.value)
    say(f"{hardware.description}, {config.compute_dtype}, {CROPS.value} crops")
    all_stacks, head = {}, True
    for remat in REMAT.value:
        for pixels in (config.crops.global_size, config.crops.local_size):
            config.model.remat = remat
            row, stacks = measure(config, pixels, hardware.devices[0])
            if head:
                say("remat  pixels" + "".join(f"{name:>11}" for name in row))
                head = False
            say(f"{remat:6} {pixels:6}" + "".join(f"{value:11.2f}" for value in row.values()))
            all_stacks[f"{remat}, {pixels} pixels"] = stacks
    for name, stacks in all_stacks.items():
        say(f"\n{name}")
        for stack in stacks:
            if stack.bytes > stacks[0].bytes / 100:
                told = f"{stack.dtype}{list(stack.shape)}"
                say(
                    f"  {told:28} {stack.bytes / 1e6:8.1f} MB, padding {stack.padding:.2f}"
                    f"  {stack.origin}"
                )


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller batch, or a smaller model")
