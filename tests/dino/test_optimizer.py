"""Clipping, decay and freezing, by tensor and by role. (Against PyTorch: test_trajectory.py.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from rats_jax.dino.optimizer import (
    TakenRate,
    clip_by_tensor,
    decays,
    init_optimizer,
    split_last_layer,
    update_parameters,
)
from rats_jax.models import RATS, DINOHead, ViT


@pytest.fixture(scope="module")
def params() -> dict:
    backbone = RATS(
        width=12, depth=3, heads=3, registers_per_head=2, image_size=32, rngs=nnx.Rngs(0)
    )
    head = DINOHead(
        width=12, hidden=8, bottleneck=4, prototypes=16, norm_last_layer=False, rngs=nnx.Rngs(1)
    )
    return {
        "backbone": nnx.to_pure_dict(nnx.state(backbone)),
        "head": nnx.to_pure_dict(nnx.state(head)),
    }


def like(params: dict, value: float) -> dict:
    return jax.tree.map(lambda x: jnp.full_like(x, value), params)


def update(params, gradients, state, **options):
    defaults = dict(clip=0.0, learning_rate=0.1, weight_decay=0.0, last_layer_frozen=False)
    return jax.jit(update_parameters, static_argnames=("clip", "factor_of"))(
        params, gradients, state, **(defaults | options)
    )


def test_each_layer_of_a_stack_is_clipped_by_itself(params):
    rng = np.random.default_rng(0)
    gradients = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)
    kernel = gradients["backbone"]["blocks"]["attn"]["qkv"]["kernel"]
    small = kernel.at[0].multiply(1e-4)
    gradients["backbone"]["blocks"]["attn"]["qkv"]["kernel"] = small
    clipped = clip_by_tensor(gradients, 0.3)
    result = clipped["backbone"]["blocks"]["attn"]["qkv"]["kernel"]
    np.testing.assert_array_equal(result[0], small[0])
    for layer in (1, 2):
        norm = np.linalg.norm(small[layer])
        np.testing.assert_allclose(result[layer], small[layer] * 0.3 / (norm + 1e-6), rtol=1e-5)
    assert np.linalg.norm(clipped["backbone"]["registers"]) == pytest.approx(0.3, rel=1e-4)


def test_decay_spares_biases_and_layer_norm_alone(params):
    state = init_optimizer(params)
    after, _ = update(params, like(params, 0.0), state, weight_decay=0.5)
    decayed, spared = set(), set()
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(after), strict=True
    ):
        names = [key.key for key in path]
        if np.abs(old).max() > 0:
            factor = np.unique(np.round(np.asarray(new / jnp.where(old == 0, 1, old)), 5))
            expected = 0.95 if decays(names) else 1.0
            assert factor == pytest.approx(expected), names
        (decayed if decays(names) else spared).add("/".join(names[-2:]))
    assert {"backbone/registers", "backbone/pos_embed", "last_layer/gain"} <= decayed
    assert {"norm1/scale", "norm/bias", "qkv/bias", "patch_embed/bias"} <= spared


def test_the_class_token_of_a_vit_decays():
    tree = nnx.to_pure_dict(
        nnx.state(
            ViT(width=12, depth=1, heads=3, plain_registers=2, image_size=16, rngs=nnx.Rngs(0))
        )
    )
    tokens = {"cls_token", "pos_embed", "registers"}
    assert tokens <= set(tree) and all(decays([name]) for name in tokens)


def test_a_frozen_last_layer_has_no_step_no_decay_and_no_moments(params):
    state = init_optimizer(params)
    gradients = like(params, 1.0)
    frozen = dict(weight_decay=0.5, last_layer_frozen=True)
    after, frozen_state = update(params, gradients, state, **frozen)
    rest, last = split_last_layer(after)
    jax.tree.map(np.testing.assert_array_equal, last, params["head"]["last_layer"])
    assert not np.array_equal(rest["head"]["fc1"]["kernel"], params["head"]["fc1"]["kernel"])
    assert int(frozen_state["rest"].count) == 1
    assert int(frozen_state["last_layer"].count) == 0
    assert max(np.abs(x).max() for x in jax.tree.leaves(frozen_state["last_layer"].mu)) == 0

    # Thawed, its first step is a first step of Adam: lr in every element, where others lag.
    thawed, _ = update(after, like(params, 2.0), frozen_state)
    moved = after["head"]["last_layer"]["direction"] - thawed["head"]["last_layer"]["direction"]
    np.testing.assert_allclose(moved, 0.1, rtol=1e-4)


def test_without_clipping_gradients_pass_as_they_are(params):
    """Adam's first step does not see the scale, its second does: 1 then 3 against 1 then 1."""
    state = init_optimizer(params)
    _, first = update(params, like(params, 1.0), state)
    _, second = update(params, like(params, 3.0), first)
    np.testing.assert_allclose(
        second["rest"].mu["backbone"]["registers"], 0.9 * 0.1 + 0.3, rtol=1e-5
    )


TAKEN = ("backbone/blocks", "backbone/norm", "head/fc1")


def is_taken(path) -> bool:
    name = "/".join(key.key for key in path)
    return name.startswith(("backbone/blocks/", "backbone/norm/", "head/fc1/"))


@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_what_was_taken_has_a_learning_rate_of_its_own(params, factor):
    """0 leaves it as it is to the last bit, weight decay included."""
    gradients = like(params, 0.01)
    options = dict(weight_decay=0.3)
    plain, _ = update(params, gradients, init_optimizer(params), **options)
    of = TakenRate(TAKEN, factor).factors(jnp.int32(3))
    slow, _ = update(params, gradients, init_optimizer(params), factor_of=of, **options)
    for (path, was), full, own in zip(
        jax.tree_util.tree_leaves_with_path(params),
        *map(jax.tree.leaves, (plain, slow)),
        strict=True,
    ):
        if not is_taken(path):
            np.testing.assert_array_equal(own, full)
        elif factor:
            np.testing.assert_allclose(own - was, factor * (full - was), rtol=1e-4, atol=1e-7)
        else:
            np.testing.assert_array_equal(own, was)
        assert np.abs(full - was).max() > 0


def test_the_factor_holds_for_its_steps():
    names = ["backbone", "norm", "scale"]
    of = TakenRate(TAKEN, 0.5, steps=10)
    assert [float(of.factors(jnp.int32(step))(names)) for step in (0, 9, 10)] == [0.5, 0.5, 1.0]
    assert of.factors(jnp.int32(0))(["backbone", "normal", "scale"]) is None


def test_without_a_factor_the_update_is_the_same_program(params):
    def traced(**options) -> str:
        return str(
            jax.make_jaxpr(
                lambda p, g, s: update_parameters(
                    p,
                    g,
                    s,
                    clip=0.3,
                    learning_rate=0.1,
                    weight_decay=0.1,
                    last_layer_frozen=False,
                    **options,
                )
            )(params, like(params, 0.1), init_optimizer(params))
        )

    for rate in (TakenRate(), TakenRate(TAKEN, 1.0, 5), TakenRate((), 0.5)):
        assert traced(factor_of=rate.factors(jnp.int32(0))) == traced()
    assert traced(factor_of=TakenRate(TAKEN, 0.5).factors(jnp.int32(0))) != traced()
