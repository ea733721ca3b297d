"""python docs/eq8_table.py: writes the cost of Eq. 8, and of Mask2Former with it, to the tables of
docs/transfer.md."""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
from flax import nnx

from rats_jax.config_flag import load_recipe
from rats_jax.models import SIZES, make_backbone
from rats_jax.models.flops import forward_macs
from rats_jax.models.options import Options, RATSOptions, ViTOptions

PAGE = Path(__file__).parent / "transfer.md"
BETWEEN = r"(<!-- {}: by eq8_table.py -->\n).*?(<!-- end -->)"
PIXELS = (224, 512, 1024)
PARALLEL = ("none", "shared", "separate")


def filled(page: str, name: str, rows: Iterable[str]) -> str:
    """The page with these rows in the table of this name."""
    between = re.compile(BETWEEN.format(name), re.DOTALL)
    return between.sub(lambda at: at[1] + "\n".join(rows) + "\n" + at[2], page)


def backbones() -> Iterator[str]:
    """The rows of the table "Eq. 8"."""
    pixels = " | ".join(f"GFLOP at {side} px" for side in PIXELS)
    yield f"| backbone | `model.parallel` | parameters, M | {pixels} |"
    yield "|---" * (3 + len(PIXELS)) + "|"
    for size in ("S", "B"):
        for parallel in PARALLEL:
            rats = RATSOptions(**SIZES[size], parallel=parallel)
            yield _row(f"RATS-{size}/16", f"`{parallel}`", rats)
        yield _row(f"ViT-{size}/16", "", ViTOptions(**SIZES[size]))


def _row(name: str, parallel: str, options: Options) -> str:
    flops = (2 * forward_macs(options, pixels=side) / 1e9 for side in PIXELS)
    cells = " | ".join(f"{x:.1f}" for x in (parameters(options) / 1e6, *flops))
    return f"| {name} | {parallel} | {cells} |"


def parameters(options: Options) -> int:
    """The number of parameters of a backbone."""
    made = nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0)))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(nnx.state(made)))


def segmenters(pixels: int = 512) -> Iterator[str]:
    """The rows of the table "Mask2Former", counted by PyTorch, which computes nothing."""
    yield f"| backbone | `model.parallel` | queries | parameters, M | GFLOP at {pixels} px |"
    yield "|---" * 5 + "|"
    rats = [RATSOptions(**SIZES["S"], parallel=parallel) for parallel in PARALLEL]
    for options in rats:
        yield _segmenter("RATS-S/16", f"`{options.parallel}`", options, "registers", pixels)
    yield _segmenter("RATS-S/16", "`shared`", rats[PARALLEL.index("shared")], "learned", pixels)
    yield _segmenter("ViT-S/16", "", ViTOptions(**SIZES["S"]), "learned", pixels)


def _segmenter(name: str, parallel: str, options: Options, queries: str, pixels: int) -> str:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from rats_jax.finetuning.mask2former.model import Segmenter, network_config

    config = load_recipe("ade20k")
    config.decoder.queries = queries
    classes = [str(i) for i in range(150)]
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = network_config(config, options, classes)
        model = Segmenter(network, mean=(0, 0, 0), std=(1, 1, 1)).eval()
        model.requires_grad_(False)
        # Of the other kernels of attention on CPUs, the counter knows no products.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, pixels, pixels))
    size = sum(p.numel() for p in model.parameters()) / 1e6
    flops = counter.get_total_flops() / 1e9
    return f"| {name} | {parallel} | {queries} | {size:.1f} | {flops:.1f} |"


if __name__ == "__main__":
    page = filled(PAGE.read_text(), "Eq. 8", backbones())
    PAGE.write_text(filled(page, "Mask2Former", segmenters()))
