"""One table of names: there and back is the same to the bit, and nothing is let through."""

import jax
import numpy as np
import pytest
from flax import nnx

from rats_jax.errors import UserError
from rats_jax.models import DINOHead, make_backbone
from rats_jax.weights import names
from tests.torch_reference import weights as literal

SMALL = {"width": 48, "depth": 3, "heads": 3, "image_size": 64}
MODELS = {
    "rats": {"architecture": "rats", "communicate": "learned", "parallel": "separate"},
    "vit": {"architecture": "vit", "plain_registers": 4},
    "DINOv2 giant": {"architecture": "vit", "layer_scale": True, "gated_mlp": True},
    "perceiver": {"architecture": "perceiver"},
}


def params_of(make) -> dict:
    state = nnx.state(nnx.eval_shape(make))
    return literal.randomised(nnx.to_pure_dict(state), seed=0)


def backbone(name: str) -> dict:
    return params_of(lambda: make_backbone(SMALL | MODELS[name], rngs=nnx.Rngs(0)))


def head(**options) -> dict:
    sizes = {"width": 48, "hidden": 32, "bottleneck": 16, "prototypes": 40}
    return params_of(lambda: DINOHead(**sizes, **options, rngs=nnx.Rngs(0)))


@pytest.fixture(params=[*MODELS, "head", "head with gains"])
def params(request):
    if request.param.startswith("head"):
        return head(norm_last_layer=request.param == "head")
    return backbone(request.param)


def test_there_and_back_is_the_same_to_the_bit(params):
    back = names.from_torch(names.to_torch(params), params, source="weights")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a.view("i4"), b.view("i4")), params, back
    )
    assert jax.tree.structure(params) == jax.tree.structure(back)


@pytest.mark.parametrize("name", ["rats", "vit", "perceiver"])
def test_names_and_layouts_are_those_of_the_independent_table(name):
    params = backbone(name)
    ours, theirs = names.to_torch(params), literal.to_torch(params)
    assert ours.keys() == theirs.keys()
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key].numpy())
        assert array.dtype == np.float32 and array.flags.c_contiguous


def change(state: dict, name: str, to) -> dict:
    changed = {key: array for key, array in state.items() if key != name}
    return changed if to is None else changed | {name: to(state.get(name))}


@pytest.mark.parametrize(
    "name, to, message",
    [
        ("blocks.1.norm2.bias", None, "weights has no blocks.1.norm2.bias"),
        ("pos_embed", None, "weights has no pos_embed"),
        ("blocks.3.norm1.bias", lambda _: np.zeros(48), "weights has blocks.3.norm1.bias, which"),
        (
            "blocks.2.mlp.fc1.weight",
            lambda x: x.T,
            r"blocks.2.mlp.fc1.weight is \[48, 192\], not \[192, 48\]: it is transposed",
        ),
        ("norm.weight", lambda x: x[:-1], r"norm.weight is \[47\], not \[48\]: it is of another"),
        ("norm.bias", lambda x: x.astype(int), "norm.bias is of int64: only floating point"),
        ("blocks.0.norm1.weight", lambda x: x * np.nan, "blocks.0.norm1.weight holds NaN"),
        ("registers", lambda x: x[0], r"registers is \[4, 48\], not \[1, 4, 48\]"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(name, to, message):
    params = backbone("vit")
    with pytest.raises(UserError, match=message):
        names.from_torch(change(names.to_torch(params), name, to), params, source="weights")
