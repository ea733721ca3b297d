"""Drop path against the JAX models, which take the same draws."""

import jax
import numpy as np
import pytest
import torch

from rats_jax.finetuning.mask2former import drop_path
from tests.finetuning.mask2former.models import (
    BACKBONES,
    RATS,
    backbone_of,
    draw,
    draw_targets,
    make,
)

KINDS = BACKBONES | {"perceiver": {"architecture": "perceiver"}}


def changes_for(backbone, **changes):
    queries = "registers" if backbone.options.registers else "learned"
    return {"model.parallel": "none", "decoder.queries": queries, **changes}


@pytest.mark.parametrize("name", [*KINDS, "rats, parallel shared", "rats, parallel separate"])
def test_residuals_are_dropped_as_in_jax(name, monkeypatch):
    parallel = name.removeprefix("rats, parallel ") if "parallel" in name else "none"
    options = RATS | {"parallel": parallel} if parallel != "none" else KINDS[name]
    backbone = backbone_of(**options)
    changes = changes_for(backbone, **{"model.drop_path": 0.5, "model.parallel": parallel})
    if parallel == "shared":
        backbone = backbone_of(**RATS)
    model = make(backbone, **changes).train()
    keep = np.random.default_rng(0).choice([0, 0.5, 2], (3, 2, 2)).astype(np.float32)
    rows = iter(torch.from_numpy(keep[..., None, None]))
    monkeypatch.setattr(drop_path, "draw", lambda rate, tokens: next(rows))
    images = draw(2, 3, 64, 64)
    normalised = (images / 255 - model.mean) / model.std
    with torch.no_grad():
        found = model.backbone(normalised)
    assert next(rows, None) is None
    graph = backbone_of(**options).graph
    with jax.default_matmul_precision("highest"):
        expected = backbone._replace(graph=graph).features(
            np.moveaxis(normalised.numpy(), 1, -1), keep=keep
        )
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_draws_have_the_rate_of_their_block_and_mean_1():
    model = make(**{"model.drop_path": 0.4})
    rates = [block.forward.args[1] for block in model.backbone.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4])
    torch.manual_seed(0)
    draws = drop_path.draw(0.4, torch.zeros(4000, 1, 1))
    assert draws.shape == (2, 4000, 1, 1)
    assert draws.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert draws.mean((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.05)
    assert (draws[0] != draws[1]).any()


def test_evaluation_drops_nothing_and_checkpointing_drops_the_same():
    images = draw(2, 3, 64, 64)
    plain, dropping = make().eval(), make(**{"model.drop_path": 0.5})
    with torch.no_grad():
        assert torch.equal(plain(images)[1], dropping.eval()(images)[1])
    gradients = []
    for remat in ("none", "full"):
        model = make(**{"model.drop_path": 0.5, "model.remat": remat}).train()
        torch.manual_seed(1)
        model(images, draw_targets([2, 1], (64, 64)))[2]["loss"].backward()
        gradients.append(model.backbone.registers.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
