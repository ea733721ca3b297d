"""Bytes of a training step by hand, against JAX's arrays. (tests/planning/test_by_hand.py compares
the peak with a compiler's.)"""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rats_jax.models import SIZES, DINOHead, make_backbone
from rats_jax.models.block import Block, RegisterBlock
from rats_jax.models.memory import (
    backbone_parameters,
    head_parameters,
    kept_of_layer,
    training_bytes,
)
from rats_jax.models.options import options_of
from tests.models.test_memory import BATCH, HEADS, WIDTH, bytes_per_image, kept


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


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
@pytest.mark.parametrize("given", [{"architecture": "rats"}, {"architecture": "vit"}])
def test_what_a_layer_keeps_is_counted_to_the_byte(given, remat):
    options = options_of(
        given
        | {"width": WIDTH, "heads": HEADS, "depth": 3}
        | ({"registers_per_head": 2} if given["architecture"] == "rats" else {})
    )
    patches, bf16 = options.patches(48), jnp.bfloat16
    if given["architecture"] == "rats":
        tokens = (
            jax.ShapeDtypeStruct((BATCH, HEADS, 2, WIDTH), bf16),
            jax.ShapeDtypeStruct((BATCH, patches, WIDTH), bf16),
        )
        more = dict(communicate="parameter_free", sharing="partitioned", parallel="none")
        activations, _ = kept(RegisterBlock, tokens, remat=remat, **more)
    else:
        tokens = jax.ShapeDtypeStruct((BATCH, 1 + patches, WIDTH), bf16)
        activations, _ = kept(Block, tokens, remat=remat)
    expected = kept_of_layer(options, pixels=48, remat=remat, size=jnp.dtype(bf16).itemsize)
    assert bytes_per_image(activations) == expected


def test_more_is_needed_with_more_images_and_less_with_remat_parts_and_shards():
    options = options_of({"architecture": "rats"} | SIZES["S"])
    usual = {"hidden": 2048, "bottleneck": 256, "prototypes": 65_536, "global_size": 224}
    usual |= {"local_size": 96, "local_crops": 10, "images": 32, "remat": "none"}

    def peak(**fields) -> int:
        return training_bytes(options, **(usual | fields)).peak

    assert peak(remat="full") < peak(remat="dots") < peak()
    assert peak(accumulation=4) < peak(accumulation=2) < peak() < peak(images=64)
    assert peak(shards=8) < peak() < peak(dtype="float32") < 2 * peak()
    assert peak() < peak(losses=6)
