"""Groups of parameters: each once, with the recipes' rates and decay."""

import pytest
import torch

from rats_jax.finetuning.mask2former.groups import parameter_groups
from tests.finetuning.mask2former.models import BACKBONES, backbone_of, config, make


def settings(groups):
    """Name -> (factor, weight decay)."""
    return {
        name: (group["factor"], group["weight_decay"])
        for group in groups
        for name in group["names"]
    }


@pytest.mark.parametrize("freeze", ["none", "backbone"])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_trained_parameter_is_in_exactly_one_group(name, freeze):
    backbone = backbone_of(**BACKBONES[name])
    queries = "registers" if backbone.options.registers else "learned"
    changes = {"model.freeze": freeze, "decoder.queries": queries, "optimizer.layer_decay": 0.9}
    model = make(backbone, **changes)
    groups = parameter_groups(model, config(**changes))
    found = [id(parameter) for group in groups for parameter in group["params"]]
    expected = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert len(found) == len(expected) and set(found) == expected
    by_name = dict(model.named_parameters())
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            assert by_name[name] is parameter
    torch.optim.AdamW(groups).step()


def test_rates_and_decay_are_those_of_the_recipes():
    """Of every kind of parameter, written out."""
    changes = {"model.parallel": "separate", "optimizer.layer_decay": 0.5}
    model = make(**changes)
    found = settings(parameter_groups(model, config(**changes)))
    body, pixels = "network.model.pixel_level_module.encoder.", "network.model.pixel_level_module."
    decoder = "network.model.transformer_module."
    expected = {
        body + "encoder.patch_embed.proj.weight": (0.1 / 16, 0.05),
        body + "encoder.patch_embed.proj.bias": (0.1 / 16, 0.05),
        body + "encoder.pos_embed": (0.1 / 16, 0.0),
        body + "encoder.registers": (0.1 / 16, 0.0),
        body + "encoder.blocks.0.attn.qkv.weight": (0.1 / 8, 0.05),
        body + "encoder.blocks.0.patch_attn.qkv.weight": (0.1 / 8, 0.05),
        body + "encoder.blocks.2.mlp.fc1.bias": (0.1 / 2, 0.05),
        body + "encoder.blocks.2.norm1.weight": (0.1 / 2, 0.0),
        body + "encoder.blocks.2.norm1.bias": (0.1 / 2, 0.0),
        body + "encoder.norm.weight": (0.1, 0.0),
        body + "levels.0.0.0.weight": (1.0, 0.05),
        body + "levels.0.0.1.weight": (1.0, 0.0),
        body + "levels.2.2.weight": (1.0, 0.0),
        pixels + "decoder.level_embed": (1.0, 0.0),
        pixels + "decoder.input_projections.0.1.weight": (1.0, 0.0),
        pixels + "decoder.encoder.layers.0.self_attn.sampling_offsets.bias": (1.0, 0.05),
        pixels + "decoder.encoder.layers.0.final_layer_norm.bias": (1.0, 0.0),
        decoder + "queries_embedder.weight": (1.0, 0.0),
        decoder + "level_embed.weight": (1.0, 0.0),
        decoder + "decoder.layers.0.cross_attn.in_proj_weight": (1.0, 0.05),
        decoder + "decoder.layernorm.weight": (1.0, 0.0),
        "network.register_queries.norm.weight": (1.0, 0.0),
        "network.register_queries.projection.weight": (1.0, 0.05),
        "network.class_predictor.bias": (1.0, 0.05),
    }
    for name, (factor, decay) in expected.items():
        assert found[name] == (pytest.approx(factor), decay), name
    learned = make(**{"decoder.queries": "learned"})
    found = settings(parameter_groups(learned, config()))
    assert found[decoder + "queries_features.weight"] == (1.0, 0.0)


def test_layer_scales_and_cls_do_not_decay():
    model = make(backbone_of(**BACKBONES["dinov3"]))
    groups = parameter_groups(model, config())
    found = settings(groups)
    body = "network.model.pixel_level_module.encoder.encoder."
    for name in ("cls_token", "registers", "blocks.1.ls1.gamma"):
        assert found[body + name] == (0.1, 0.0)
    assert sorted({group["lr"] for group in groups}) == pytest.approx([1e-5, 1e-4])
