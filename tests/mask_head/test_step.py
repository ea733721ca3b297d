"""The step as a whole: it learns, and what may not change does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax.mask_head.options import OptimizerOptions
from tests.mask_head.tiny import (
    CLASSES,
    RATS,
    VIT,
    instance_batch,
    make_linear_head,
    make_mask_head,
    semantic_batch,
    train,
)

BATCHES = {"semantic": semantic_batch, "instances": instance_batch}


def predicted(method, params: dict, batch: dict) -> np.ndarray:
    """Label maps of the batch, at the grid of patches."""
    found = method.network.predict(params, batch["image"])
    if hasattr(found, "label_logits"):
        return np.asarray(found.label_logits.argmax(1))
    shares = jax.nn.softmax(found.class_logits)[..., :-1]
    masks = jax.nn.sigmoid(found.mask_logits)
    coarse = masks.reshape(*masks.shape[:2], 4, masks.shape[2] // 4, 4, -1).mean((3, 5))
    return np.asarray(jnp.einsum("bqc,bqhw->bchw", shares, coarse).argmax(1))


@pytest.mark.parametrize("make, options", [(make_mask_head, RATS), (make_linear_head, VIT)])
def test_training_learns_the_labels(make, options):
    method, batch = make(options), semantic_batch()
    state, history = train(method, batch, 150)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    truth = batch["labels"][:, 4::8, 4::8]
    right = predicted(method, state["student"], batch)[truth >= 0] == truth[truth >= 0]
    assert right.mean() > 0.9
    accuracy = "class_accuracy" if make is make_mask_head else "pixel_accuracy"
    assert history[-1][accuracy] > 0.85


def test_predictions_have_the_promised_shapes():
    batch = semantic_batch(2)
    image = np.concatenate([batch["image"]] * 2, axis=2)[:, :24]  # 24 x 64
    for options, queries in ((RATS, 12), (VIT, 4)):
        method = make_mask_head(options)
        found = method.network.predict(method.init(0)["student"], image)
        assert found.class_logits.shape == (2, queries, CLASSES + 1)
        assert found.mask_logits.shape == (2, queries, 4 * 3, 4 * 8)
        method = make_linear_head(options)
        found = method.network.predict(method.init(0)["student"], image)
        assert found.label_logits.shape == (2, CLASSES, 3, 8)


def test_the_last_supervised_layer_is_the_prediction():
    method, image = make_mask_head(remat="full"), semantic_batch()["image"]
    params = method.init(0)["student"]
    outputs = method.network.outputs(params, image, None)
    found = method.network.predict(params, image)
    np.testing.assert_allclose(outputs.class_logits[:, -1], found.class_logits, atol=1e-5)
    logits = jnp.einsum("bqe,bhwe->bqhw", outputs.embeddings[:, -1], outputs.pixels[:, -1])
    np.testing.assert_allclose(logits / 4, found.mask_logits, atol=1e-5)
    earlier = outputs.class_logits[:, 0] - found.class_logits
    assert np.abs(earlier).max() > 0.01


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("make", [make_mask_head, make_linear_head])
def test_micro_batches_do_not_change_the_step(make, kind):
    if make is make_linear_head and kind == "instances":
        return
    batch = BATCHES[kind]()
    whole, parts = (make(accumulation=n, drop_path=0.3) for n in (1, 2))
    for a, b in zip(*(train(x, batch, 1)[1] for x in (whole, parts)), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-5, err_msg=name)


def test_a_step_depends_on_seed_and_step_and_nothing_else():
    method, batch = make_mask_head(drop_path=0.5), semantic_batch()
    first, a = train(method, batch, 3)
    second, b = train(method, batch, 3)
    assert [m["loss"] for m in a] == [m["loss"] for m in b]
    jax.tree.map(np.testing.assert_array_equal, first, second)
    step = jax.jit(method.step)
    losses = {
        float(step(first | change, batch)[1]["loss"])
        for change in (
            {},
            {"rng": jax.random.key_data(jax.random.key(1))},
            {"step": first["step"] + 1},
        )
    }
    assert len(losses) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing_but_counts(bad):
    method, batch = make_mask_head(), semantic_batch()
    step = jax.jit(method.step)
    before, _ = train(method, batch, 2)
    blocks = before["student"]["backbone"]["blocks"]
    spoilt = jax.tree.map(jnp.copy, before)
    kernel = blocks["mlp"]["fc1"]["kernel"].at[1, 0, 0].set(bad)
    spoilt["student"]["backbone"]["blocks"]["mlp"]["fc1"]["kernel"] = kernel
    after, metrics = step(spoilt, batch)
    for name in ("student", "optimizer", "rng"):
        jax.tree.map(np.testing.assert_array_equal, after[name], spoilt[name])
    assert metrics["skipped_steps"] == 1 and metrics["skipped_in_a_row"] == 1
    after, metrics = step(before | {"skipped": after["skipped"]}, batch)
    assert metrics["skipped_steps"] == 1 and metrics["skipped_in_a_row"] == 0
    assert after["step"] == before["step"] + 1


@pytest.mark.parametrize("make", [make_mask_head, make_linear_head])
def test_a_frozen_backbone_has_no_moments_and_no_update(make):
    frozen = OptimizerOptions(frozen=True)
    method, batch = make(optimizer=frozen), semantic_batch()
    state = jax.jit(method.init, static_argnums=0)(0)
    before = jax.device_get(state["student"])
    assert set(state["optimizer"].mu) == {"decoder"}
    after, _ = train(method, batch, 2)
    jax.tree.map(np.testing.assert_array_equal, after["student"]["backbone"], before["backbone"])
    changed = after["student"]["decoder"]["classify"]["kernel"]
    assert np.abs(changed - before["decoder"]["classify"]["kernel"]).max() > 0


def test_a_frozen_backbone_has_no_backward_pass():
    flops = []
    for optimizer in (OptimizerOptions(frozen=True), OptimizerOptions()):
        method = make_linear_head(optimizer=optimizer, unroll=3)  # a loop is counted once
        step = jax.jit(method.step).lower(jax.eval_shape(method.init, 0), semantic_batch())
        flops.append(step.compile().cost_analysis()["flops"])
    assert flops[0] < 0.5 * flops[1]


def test_state_is_float32_when_the_computation_is_bfloat16():
    batch = semantic_batch()
    state, history = train(make_mask_head(dtype=jnp.bfloat16), batch, 2)
    floating = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert floating and all(x.dtype == jnp.float32 for x in floating)
    _, exact = train(make_mask_head(), batch, 1)
    assert history[0]["loss"] == pytest.approx(exact[0]["loss"], rel=0.03)
    assert history[0]["loss"] != exact[0]["loss"]


def test_images_are_normalised_by_the_backbone_s_mean_and_std():
    method = make_mask_head()
    found = method.network.normalised(np.full((1, 8, 8, 3), 51, np.uint8))
    np.testing.assert_allclose(found[0, 0, 0], [-1.5, -0.8, -1 / 3], rtol=1e-5)


def test_supervision_is_of_as_many_layers_as_there_are():
    method = make_mask_head({**RATS, "depth": 1})
    assert method.network.supervised == 1
    with pytest.raises(ValueError, match="no registers"):
        make_mask_head({**VIT, "plain_registers": 0})
