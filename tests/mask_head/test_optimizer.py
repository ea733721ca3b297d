"""The optimizer beside torch's AdamW and clip_grad_norm_."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from rats_jax.mask_head.optimizer import ADAM, decays, update_parameters
from rats_jax.mask_head.options import OptimizerOptions
from tests.mask_head.tiny import RATS, VIT, make_mask_head

DEPTH = RATS["depth"]


def path_of(path) -> list[str]:
    return [str(key.key) for key in path]


def layers_of(names: list[str], x: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The tensors of an array, each with its layer as BEiT counts them: 0 before the blocks, block
    i is i + 1, and depth + 1 after them."""
    if names[:2] == ["backbone", "blocks"]:
        return list(enumerate(x, 1))
    before = names[0] == "backbone" and names[1] != "norm"
    return [(0 if before else DEPTH + 1, x)]


@pytest.mark.parametrize("options", [RATS, VIT], ids=["rats", "vit"])
def test_steps_are_those_of_torch(options):
    settings = OptimizerOptions(backbone_rate=0.1, layer_decay=0.7, weight_decay=0.3, clip=0.5)
    params = jax.eval_shape(make_mask_head(options).init, 0)["student"]
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda x: draw.normal(size=x.shape).astype(np.float32), params)
    leaves = [
        (path_of(path), layer, torch.nn.Parameter(torch.tensor(x)))
        for path, whole in jax.tree_util.tree_leaves_with_path(params)
        for layer, x in layers_of(path_of(path), whole)
    ]
    groups = []
    for names, layer, tensor in leaves:
        rate = 1e-2 * settings.layer_decay ** (DEPTH + 1 - layer)
        rate *= settings.backbone_rate if names[0] == "backbone" else 1
        decay = settings.weight_decay if decays(names) else 0
        groups.append({"params": [tensor], "lr": rate, "weight_decay": decay})
    optimizer, state = torch.optim.AdamW(groups), ADAM.init(params)
    step = jax.jit(update_parameters, static_argnames=("depth", "options"))
    for i in range(4):
        scale = (1e-3, 1.0)[i % 2]  # below and above the limit
        gradients = jax.tree.map(
            lambda x, scale=scale: scale * draw.normal(size=x.shape).astype(np.float32), params
        )
        norm = optax.tree.norm(gradients)
        flat = [
            x
            for path, whole in jax.tree_util.tree_leaves_with_path(gradients)
            for _, x in layers_of(path_of(path), whole)
        ]
        for (_, _, tensor), gradient in zip(leaves, flat, strict=True):
            tensor.grad = torch.tensor(gradient)
        total = torch.nn.utils.clip_grad_norm_([x for _, _, x in leaves], settings.clip)
        assert float(norm) == pytest.approx(float(total), rel=1e-5)
        assert (float(norm) < settings.clip) == (i % 2 == 0)
        optimizer.step()
        params, state = step(
            params,
            gradients,
            state,
            norm=norm,
            learning_rate=jnp.float32(1e-2),
            depth=DEPTH,
            options=settings,
        )
    ours = [
        x
        for path, whole in jax.tree_util.tree_leaves_with_path(params)
        for _, x in layers_of(path_of(path), whole)
    ]
    for (names, layer, tensor), x in zip(leaves, ours, strict=True):
        np.testing.assert_allclose(
            x, tensor.detach(), rtol=1e-5, atol=1e-6, err_msg=f"{names}, layer {layer}"
        )


def test_what_has_no_weight_decay():
    spared, decayed = set(), set()
    for options in (RATS, VIT):
        params = jax.eval_shape(make_mask_head(options).init, 0)["student"]
        for path, _ in jax.tree_util.tree_leaves_with_path(params):
            names = path_of(path)
            (decayed if decays(names) else spared).add(names[-1])
    assert spared == {"bias", "scale", "pos_embed", "cls_token", "registers"}
    assert decayed == {"kernel", "depthwise"}
