"""Bytes of a training step by hand, against JAX's arrays and the CPU's compiler."""

import jax
import pytest
from flax import nnx

from rats_jax.models import SIZES, DINOHead, make_backbone
from rats_jax.models.memory import backbone_parameters, head_parameters
from rats_jax.models.options import options_of


def size_of(make) -> int:
    state = nnx.state(nnx.eval_shape(make))
    return sum(x.size for x in jax.tree.leaves(nnx.to_pure_dict(state)))


@pytest.mark.parametrize(
    "given",
    [
        {"architecture": "rats"},
        {"architecture": "rats", "communicate": "learned", "parallel": "separate"},
        {"architecture": "rats", "sharing": "shared", "parallel": "shared", "patch": 8},
        {"architecture": "vit", "plain_registers": 4},
        {"architecture": "vit", "gated_mlp": True, "layer_scale": True, "mlp_ratio": 8 / 3},
        {"architecture": "vit", "positions": "rope", "rope_periods": (1.0,) * 16},
        {"architecture": "perceiver", "latents": 5, "queries": 7},
    ],
)
def test_parameters_are_counted_as_the_arrays_are(given):
    options = options_of(given | SIZES["Ti"])
    assert backbone_parameters(options) == size_of(lambda: make_backbone(options, rngs=nnx.Rngs(0)))


def test_parameters_of_the_head_are_counted_as_the_arrays_are():
    head = {"width": 24, "hidden": 16, "bottleneck": 8, "prototypes": 32}
    assert head_parameters(*head.values()) == size_of(lambda: DINOHead(**head, rngs=nnx.Rngs(0)))
