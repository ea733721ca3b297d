"""The cost of Eq. 8 counted by hand, against PyTorch's counter and XLA's; the table of the docs."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from torch.utils.flop_counter import FlopCounterMode

from rats_jax.models import RATS, SIZES
from rats_jax.models.flops import forward_macs
from rats_jax.models.options import RATSOptions
from rats_jax.torch_export.files import modeling_rats

DOCS = Path(__file__).parents[2] / "docs"
SMALL = SIZES["S"] | {"depth": 2}


@pytest.mark.parametrize("pixels", [224, 512])
@pytest.mark.parametrize("parallel", ["none", "shared", "separate"])
def test_pytorch_counts_what_the_hand_does(parallel, pixels):
    options = RATSOptions(**SMALL, parallel=parallel)
    with torch.device("meta"):
        model = modeling_rats.build(options.asdict()).requires_grad_(False)
        images = torch.empty(1, 3, pixels, pixels)
    with FlopCounterMode(display=False) as counter:
        model(images)
    counted = counter.get_total_flops() / 2
    assert counted == pytest.approx(forward_macs(options, pixels=pixels), rel=0.005)


@pytest.mark.parametrize("parallel", ["none", "shared", "separate"])
def test_xla_projects_the_patches_once_if_projections_are_shared(parallel):
    """Norms, softmax and activations are under 1 % of the compiled program."""
    options = RATSOptions(**SMALL, parallel=parallel)
    module = nnx.eval_shape(
        lambda: RATS(**SMALL, unroll=SMALL["depth"], parallel=parallel, rngs=nnx.Rngs(0))
    )
    graph, state = nnx.split(module)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    lowered = jax.jit(lambda state, x: nnx.merge(graph, state)(x)[:3]).lower(state, images)
    counted = lowered.compile().cost_analysis()["flops"] / 2
    assert counted == pytest.approx(forward_macs(options, pixels=224), rel=0.01)


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("eq8_table", DOCS / "eq8_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_backbones_is_that_of_the_code(tables):
    page = tables.PAGE.read_text()
    assert page.count("| RATS-B/16 | `separate` | 114.3 |") == 1
    assert tables.filled(page, "Eq. 8", tables.backbones()) == page, "run python docs/eq8_table.py"


@pytest.mark.slow
def test_the_table_of_mask2former_is_that_of_the_code(tables):
    page = tables.PAGE.read_text()
    assert page.count("| `shared` | registers | 44.9 |") == 1
    filled = tables.filled(page, "Mask2Former", tables.segmenters())
    assert filled == page, "run python docs/eq8_table.py"
