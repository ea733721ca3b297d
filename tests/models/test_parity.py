"""Backbones and head against the literal PyTorch reference: outputs, gradients, attention maps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from rats_jax.models import RATS, SIZES, DINOHead, Perceiver, ViT
from tests.torch_reference import models as reference
from tests.torch_reference.dino import DINOHead as ReferenceHead
from tests.torch_reference.weights import load, randomised, to_torch

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4

SMALL = {"width": 96, "depth": 3, "heads": 3}
# Name -> the JAX model, then its arguments and those of the reference beyond width, depth, heads.
MODELS = {
    "rats": (RATS, {"registers_per_head": 4}, {"per_head": 4}),
    "rats learned": (
        RATS,
        {"registers_per_head": 4, "communicate": "learned"},
        {"per_head": 4, "learned": True},
    ),
    "rats shared": (
        RATS,
        {"registers_per_head": 4, "sharing": "shared"},
        {"per_head": 4, "shared": True},
    ),
    "rats shared learned": (
        RATS,
        {"registers_per_head": 4, "sharing": "shared", "communicate": "learned"},
        {"per_head": 4, "shared": True, "learned": True},
    ),
    "rats parallel, shared projections": (
        RATS,
        {"registers_per_head": 4, "parallel": "shared"},
        {"per_head": 4, "parallel": "shared"},
    ),
    "rats parallel, separate projections": (
        RATS,
        {"registers_per_head": 4, "parallel": "separate"},
        {"per_head": 4, "parallel": "separate"},
    ),
    "vit": (ViT, {}, {}),
    "vit with registers": (ViT, {"plain_registers": 4}, {"registers": 4}),
    "perceiver": (Perceiver, {}, {}),
}
PIXELS = [(224, 224), (96, 160), (96, 96), (320, 320)]
QUICK = {"xla_backend_optimization_level": 0}  # compiles in two thirds of the time
OUTPUTS = ("registers", "patches", "global_vector")

# Variants share RATS's positions: at its other sizes they only repeat it, slowly.
MAIN = {"rats", "vit", "perceiver"}
CASES = [
    pytest.param(
        name,
        pixels,
        id=f"{name}, {pixels[0]}x{pixels[1]}",
        marks=[] if name in MAIN or pixels in PIXELS[:2] else [pytest.mark.slow],
    )
    for name in MODELS
    for pixels in PIXELS
]


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def random_model(make):
    """(graphdef, random params) of the module that `make` would make."""
    graphdef, state = nnx.split(nnx.eval_shape(make))
    return graphdef, randomised(nnx.to_pure_dict(state), seed=1)


def twins(name: str, *, size: dict = SMALL, **options):
    """(graphdef, params, torch module) with the same random parameters."""
    model, arguments, reference_arguments = MODELS[name]
    graphdef, params = random_model(lambda: model(**size, **arguments, **options, rngs=nnx.Rngs(0)))
    offset = options.get("position_offset", 0.1) == 0.1
    module = getattr(reference, model.__name__)(**size, **reference_arguments, offset=offset)
    load(module, params)
    return graphdef, params, module


def random_images(pixels: tuple[int, int], *, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((batch, *pixels, 3)).astype(np.float32)


def to_nchw(images: np.ndarray) -> torch.Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2)


def run(graphdef, params: dict, inputs: np.ndarray, **options):
    return jax.jit(lambda params, x: nnx.merge(graphdef, params)(x, **options))(params, inputs)


def assert_outputs_agree(graphdef, params: dict, module, pixels: tuple[int, int]) -> None:
    images = random_images(pixels)
    ours = run(graphdef, params, images)
    with torch.no_grad():
        theirs = module(to_nchw(images))
    for output in OUTPUTS:
        a, b = np.asarray(getattr(ours, output)), getattr(theirs, output).numpy()
        assert a.dtype == np.float32 and a.shape == b.shape, (output, a.dtype, a.shape, b.shape)
        np.testing.assert_allclose(a, b, rtol=0, atol=OUTPUT_TOLERANCE, err_msg=output)


@pytest.mark.parametrize(("name", "pixels"), CASES)
def test_outputs(name, pixels):
    assert_outputs_agree(*twins(name), pixels)


@pytest.mark.parametrize("name", ["rats", "vit"])
@pytest.mark.parametrize("pixels", [(96, 160), (320, 320)], ids=lambda p: f"{p[0]}x{p[1]}")
def test_outputs_without_the_position_offset(name, pixels):
    assert_outputs_agree(*twins(name, position_offset=0.0), pixels)


def test_the_position_offset_matters():
    """So that the two tests above cannot both pass by accident."""
    table = torch.randn(1, 196, 8, generator=torch.Generator().manual_seed(0))
    with_offset, without = (
        reference.interpolate_positions(table, rows=6, columns=6, offset=offset)
        for offset in (True, False)
    )
    assert (with_offset - without).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("size", ["Ti", "S"])
def test_outputs_at_true_sizes(size):
    graphdef, state = nnx.split(RATS(**SIZES[size], rngs=nnx.Rngs(0)))  # as initialised
    params = nnx.to_pure_dict(state)
    module = reference.RATS(**SIZES[size], per_head=16)
    load(module, params)
    for pixels in [(224, 224), (96, 96)]:
        assert_outputs_agree(graphdef, params, module, pixels)


def key_bias_rows(name: str, width: int) -> slice | None:
    """The part of a fused qkv bias that adds to the keys.

    It adds the same q.b to every logit of a softmax, so its true gradient is 0 (in the compress
    step too: all keys are patches), and what is computed is rounding noise.
    """
    return slice(width, 2 * width) if name.endswith("attn.qkv.bias") else None


@pytest.mark.parametrize(
    ("name", "remat"),
    [*((name, "none") for name in MODELS), ("rats", "full"), ("perceiver", "full")],
)
def test_gradients(name, remat):
    """Of a random projection of all outputs, for every parameter, by the tensor's norm."""
    graphdef, params, module = twins(name, remat=remat)
    images = random_images((96, 160))
    theirs = module(to_nchw(images))
    rng = np.random.default_rng(3)
    weights = {
        output: rng.standard_normal(getattr(theirs, output).shape).astype(np.float32)
        for output in OUTPUTS
    }

    sum(
        (torch.tensor(weight) * getattr(theirs, output)).sum() for output, weight in weights.items()
    ).backward()
    expected = {key: parameter.grad for key, parameter in module.named_parameters()}

    @partial(jax.jit, compiler_options=QUICK)
    @jax.grad
    def gradients(params):
        ours = nnx.merge(graphdef, params)(images)
        return sum(jnp.vdot(weight, getattr(ours, output)) for output, weight in weights.items())

    actual = to_torch(gradients(params))
    assert actual.keys() == expected.keys()
    assert_tensors_agree(actual, expected, width=SMALL["width"])


def assert_tensors_agree(actual: dict, expected: dict, *, width: int) -> None:
    for name, theirs in expected.items():
        scale = theirs.norm()
        assert scale > 0, name
        error = actual[name] - theirs
        if rows := key_bias_rows(name, width):
            assert actual[name][rows].norm() < GRADIENT_TOLERANCE * scale, name
            assert theirs[rows].norm() < GRADIENT_TOLERANCE * scale, name
        assert error.norm() < GRADIENT_TOLERANCE * scale, (name, float(error.norm() / scale))


@pytest.mark.parametrize("name", ["rats", "rats shared", "vit", "vit with registers", "perceiver"])
def test_attention_maps(name):
    graphdef, params, module = twins(name)
    images = random_images((96, 160))
    layers = [0] if name == "perceiver" else [0, 2]
    ours = run(graphdef, params, images, attention_of=layers)
    with torch.no_grad():
        theirs = module(to_nchw(images))
    assert list(ours.attention) == layers
    for i in layers:
        attention = module.blocks[i].attn
        if name.startswith("rats"):
            expected = attention.compress_weights
        elif name == "perceiver":
            expected = attention.weights
        else:  # [CLS] and the registers, which follow the patches, to the patches
            L = theirs.patches.shape[1]
            rows = [0, *range(1 + L, attention.weights.shape[2])]
            expected = attention.weights[:, :, rows, 1 : 1 + L]
        np.testing.assert_allclose(ours.attention[i], expected, rtol=0, atol=OUTPUT_TOLERANCE)
    np.testing.assert_allclose(
        ours.global_vector, theirs.global_vector, rtol=0, atol=OUTPUT_TOLERANCE
    )


def test_negative_layers_count_from_the_end():
    graphdef, params, module = twins("rats")
    images = random_images((96, 96))
    ours = run(graphdef, params, images, attention_of=[-1])
    module(to_nchw(images))
    expected = module.blocks[-1].attn.compress_weights
    (attention,) = ours.attention.values()
    np.testing.assert_allclose(attention, expected, rtol=0, atol=OUTPUT_TOLERANCE)


@pytest.mark.parametrize("norm_last_layer", [True, False])
def test_head(norm_last_layer):
    size = {"prototypes": 192, "hidden": 128, "bottleneck": 64, "norm_last_layer": norm_last_layer}
    graphdef, params = random_model(lambda: DINOHead(width=96, **size, rngs=nnx.Rngs(0)))
    module = ReferenceHead(96, **size)
    load(module, params)
    rng = np.random.default_rng(4)
    vectors, weights = (
        rng.standard_normal((5, width)).astype(np.float32) for width in (96, size["prototypes"])
    )

    theirs = module(torch.tensor(vectors))
    ours = run(graphdef, params, vectors)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=0, atol=OUTPUT_TOLERANCE)

    (torch.tensor(weights) * theirs).sum().backward()
    expected = {k: p.grad for k, p in module.named_parameters() if p.requires_grad}
    gradients = jax.jit(jax.grad(lambda p: jnp.vdot(weights, nnx.merge(graphdef, p)(vectors))))
    actual = to_torch(gradients(params))
    assert actual.keys() == expected.keys()
    assert_tensors_agree(actual, expected, width=96)


@pytest.mark.parametrize(
    ("model", "options", "parameters"),
    [
        (ViT, {**SIZES["S"]}, 21_665_664),
        (RATS, {**SIZES["S"]}, 21_701_760),
        (RATS, {**SIZES["S"], "communicate": "learned"}, 22_586_496),
        (RATS, {**SIZES["S"], "sharing": "shared"}, 21_701_760),
        (Perceiver, {**SIZES["S"]}, 21_732_480),
        (RATS, {**SIZES["B"]}, 85_944_576),
    ],
    ids=["ViT-S", "RATS-S", "RATS-S learned", "RATS-S shared", "Perceiver", "RATS-B"],
)
def test_parameter_counts_are_the_papers(model, options, parameters):
    abstract = nnx.eval_shape(lambda: model(**options, rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.state(abstract, nnx.Param))
    assert sum(leaf.size for leaf in leaves) == parameters
