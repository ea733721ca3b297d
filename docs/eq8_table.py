"""python docs/eq8_table.py: writes the cost of Eq. 8 to the table of docs/transfer.md."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import jax
from flax import nnx

from rats_jax.models import SIZES, make_backbone
from rats_jax.models.flops import forward_macs
from rats_jax.models.options import Options, RATSOptions, ViTOptions

PAGE = Path(__file__).parent / "transfer.md"
BETWEEN = re.compile(r"(<!-- Eq. 8: by eq8_table.py -->\n).*?(<!-- end -->)", re.DOTALL)
PIXELS = (224, 512, 1024)
PARALLEL = ("none", "shared", "separate")


def filled(page: str) -> str:
    """The page with the table as the code counts now."""
    return BETWEEN.sub(lambda at: at[1] + "\n".join(rows()) + "\n" + at[2], page)


def rows() -> Iterator[str]:
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


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
