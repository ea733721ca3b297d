"""The model of Mask2Former: backbones inside it, queries, padding, freezing."""

import jax
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

from rats_jax.backbones import Backbone
from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.files.rats_mask2former import RatsMask2Former
from rats_jax.finetuning.mask2former.model import network_config, report
from rats_jax.models import options_of
from tests.finetuning.mask2former.models import (
    BACKBONES,
    RATS,
    backbone_of,
    config,
    draw,
    draw_targets,
    make,
)
from tests.torch_export.models import random_params


def seen(model, images):
    """What the backbone of the model computes: registers and patches, by hooks."""
    found = {}
    hooks = [
        model.pyramid.register_forward_hook(
            lambda _, args, output: found.update(registers=output.registers)
        ),
        model.pyramid.levels[2].register_forward_pre_hook(
            lambda _, args: found.update(patches=args[0].flatten(2).transpose(1, 2))
        ),
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found["registers"], found["patches"]


def check_equal(found, expected):
    assert float(np.abs(expected).max()) > 0.5
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pixels", [(64, 64), (96, 32)])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_backbone_inside_computes_what_jax_computes(name, pixels):
    backbone = backbone_of(**BACKBONES[name])
    queries = "registers" if backbone.options.registers else "learned"
    model = make(backbone, **{"model.parallel": "none", "decoder.queries": queries})
    images = draw(2, 3, *pixels)
    with jax.default_matmul_precision("highest"):
        expected = backbone.looking()(np.moveaxis(images.numpy().astype(np.uint8), 1, -1))
    registers, patches = seen(model, images)
    check_equal(patches, expected.patches)
    if queries == "registers":
        check_equal(registers, expected.registers)


@pytest.mark.parametrize("start", ["copy", "zero"])
@pytest.mark.parametrize("parallel", ["shared", "separate"])
def test_the_parallel_path_starts_as_it_says(parallel, start):
    """shared, and separate started by copy: Eq. 8 with the block's own projections, as JAX computes
    it. separate started by zero: the pretrained network."""
    backbone = backbone_of(**RATS)
    same = "none" if (parallel, start) == ("separate", "zero") else "shared"
    like = backbone_of(**RATS, parallel=same)
    images = draw(2, 3, 64, 64)
    with jax.default_matmul_precision("highest"):
        expected = like._replace(params=backbone.params).looking()(
            np.moveaxis(images.numpy().astype(np.uint8), 1, -1)
        )
    model = make(backbone, **{"model.parallel": parallel, "model.parallel_start": start})
    registers, patches = seen(model, images)
    check_equal(patches, expected.patches)
    check_equal(registers, expected.registers)
    if parallel == "separate":
        assert any(".patch_attn." in name for name, _ in model.named_parameters())


def test_a_second_set_of_projections_is_kept():
    backbone = backbone_of(**RATS, parallel="separate")
    model = make(backbone, **{"model.parallel": "separate", "model.parallel_start": "zero"})
    images = draw(1, 3, 64, 64)
    with jax.default_matmul_precision("highest"):
        expected = backbone.looking()(np.moveaxis(images.numpy().astype(np.uint8), 1, -1))
    check_equal(seen(model, images)[1], expected.patches)
    with pytest.raises(UserError, match="choose separate"):
        make(backbone)


def inputs_of_decoder(model, images):
    """The initial query features, [Q, B, C]."""
    found = []
    hook = model.network.model.transformer_module.decoder.layers[0].register_forward_pre_hook(
        lambda _, args: found.append(args[0])
    )
    model(images)
    hook.remove()
    return found[0]


def test_registers_are_the_queries_of_their_image():
    model = make()
    images = draw(2, 3, 64, 64) / torch.tensor([1, 4])[:, None, None, None]
    queries = inputs_of_decoder(model, images)
    part = model.network.register_queries
    registers = F.layer_norm(
        seen(model, images)[0], (48,), part.norm.weight, part.norm.bias, part.norm.eps
    )
    expected = F.linear(registers, part.projection.weight, part.projection.bias)
    assert queries.shape == (6, 2, 32)
    torch.testing.assert_close(queries, expected.transpose(0, 1), rtol=0, atol=1e-6)
    assert (queries[:, 0] - queries[:, 1]).abs().max() > 0.1
    torch.testing.assert_close(
        inputs_of_decoder(model, images.flip(0)), queries.flip(1), rtol=0, atol=1e-5
    )
    (gradient,) = torch.autograd.grad(queries.square().sum(), model.backbone.registers)
    assert gradient.abs().amax((0, 2)).min() > 0  # of every register


def test_what_is_new_starts_as_in_transformers():
    """Layer by layer, mean and spread of each tensor, although the classes are not transformers'
    own."""
    model = make(**{"decoder.width": 64}).network
    own = model.config.to_dict() | {"backbone_config": {"model_type": "resnet"}}
    torch.manual_seed(1)
    reference = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(**own))
    for name, expected in reference.state_dict().items():
        if "encoder.embedder" in name or "encoder.encoder" in name or "queries_features" in name:
            continue
        found = model.state_dict()[name]
        if "input_projections" not in name:  # whose inputs have another width
            for value in (torch.Tensor.mean, torch.Tensor.std):
                far = abs(value(found) - value(expected))
                assert far <= 0.01 + 0.35 * expected.std(), name
    spread = model.register_queries.projection.weight.detach().std()
    assert float(spread) == pytest.approx((2 / (48 + 64)) ** 0.5, rel=0.1)


def test_learned_queries_are_those_of_no_image():
    model = make(**{"decoder.queries": "learned"})
    queries = inputs_of_decoder(model, draw(2, 3, 64, 64))
    weight = model.network.model.transformer_module.queries_features.weight
    assert queries.shape == (5, 2, 32) and weight.requires_grad
    assert torch.equal(queries, weight[:, None].expand(-1, 2, -1))


@pytest.mark.parametrize("queries", ["registers", "learned"])
def test_every_parameter_has_a_gradient_unless_the_backbone_is_frozen(queries):
    for freeze in ("none", "backbone"):
        model = make(**{"decoder.queries": queries, "model.freeze": freeze})
        before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
        model(draw(2, 3, 64, 64), draw_targets([2, 0], (64, 64)))[2]["loss"].backward()
        backbone = {id(parameter) for parameter in model.backbone.parameters()}
        for name, parameter in model.named_parameters():
            frozen = freeze == "backbone" and id(parameter) in backbone
            assert (parameter.grad is None) == frozen, name
        for name, tensor in model.backbone.state_dict().items():
            assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("patch, strides", [(16, (4, 8, 16, 32)), (8, (2, 4, 8, 16))])
def test_strides_of_the_pyramid_follow_the_patch(patch, strides):
    model = make(backbone_of(**RATS, patch=patch))
    with torch.no_grad():
        maps = model.pyramid(draw(1, 3, 64, 96)).feature_maps
    assert [tuple(x.shape) for x in maps] == [(1, 32, 64 // s, 96 // s) for s in strides]


def test_any_size_of_image_is_padded_and_masks_are_of_the_image_alone():
    model = make().eval()
    images = draw(1, 3, 44, 40)
    black = F.pad(images - 255 * model.mean, (0, 24, 0, 20)) + 255 * model.mean
    with torch.no_grad():
        _, whole, _ = model(black)  # 64 x 64, padded by the mean
        classes, masks, _ = model(images)
        _, odd, _ = model(images[..., :39])
    assert masks.shape[2:] == (11, 10)
    torch.testing.assert_close(masks, whole[..., :11, :10], rtol=0, atol=1e-4)
    assert odd.shape[2:] == (44, 39)  # resized, since 39 is between two points of the masks


@pytest.mark.parametrize("size, masks", [((56, 84), (16, 24)), ((42, 56), (12, 16))])
def test_masks_of_an_odd_stride(size, masks):
    """Patches of 14 pixels have masks of every 3.5."""
    model = make(backbone_of(**RATS, patch=14, image_size=56)).eval()
    assert model.multiple == 28
    with torch.no_grad():
        assert model(draw(1, 3, *size))[1].shape[2:] == masks
        assert model(draw(1, 3, 54, 54))[1].shape[2:] == (54, 54)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_near_float32(dtype):
    model = make()
    images, targets = draw(2, 3, 64, 64), draw_targets([3, 1], (64, 64))
    torch.manual_seed(0)
    expected = model(images, targets)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype):
        found = model(images, targets)
    assert found[0].dtype == found[1].dtype == torch.float32
    torch.testing.assert_close(found[0], expected[0], rtol=0.1, atol=0.1)
    torch.testing.assert_close(found[2]["loss"], expected[2]["loss"], rtol=0.1, atol=0)


def test_activation_checkpointing_changes_no_gradient():
    gradients = []
    for remat in ("none", "full"):
        model = make(**{"model.remat": remat})
        torch.manual_seed(0)
        model(draw(1, 3, 64, 64), draw_targets([2], (64, 64)))[2]["loss"].backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        assert model.pyramid.gradient_checkpointing == (remat == "full")
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_numbers_of_parameters_at_the_size_of_the_recipe():
    """RATS-S with 96 registers as queries and 150 classes: 44.9 M, as was measured beforehand."""
    full = {"width": 256, "layers": 9, "pixel_layers": 6, "heads": 8}
    full |= {"feedforward": 2048, "pixel_feedforward": 1024}
    fields = config(**{f"decoder.{name}": value for name, value in full.items()})
    options = options_of({"architecture": "rats", "width": 384, "depth": 12, "heads": 6})
    with torch.device("meta"):
        model = RatsMask2Former(network_config(fields, options, [str(i) for i in range(150)]))
    pyramid = model.model.pixel_level_module.encoder
    counts = [sum(p.numel() for p in part.parameters()) for part in (model, pyramid.encoder)]
    assert counts == [44_885_047, 21_701_760]


def test_options_that_are_left_out_have_their_defaults():
    """Files of weights and old configs name only some of a model's options."""
    options = options_of({"architecture": "rats", "width": 24, "depth": 1, "heads": 1})
    graph, params = random_params(options)
    model = make(Backbone(options, graph, params, "random weights"))
    assert model.multiple == 32
    assert model(draw(1, 3, 40, 64))[1].shape == (1, 16, 10, 16)


def test_what_cannot_be_is_one_line():
    with pytest.raises(UserError, match="--queries=registers"):
        make(backbone_of(architecture="perceiver"), **{"decoder.queries": "learned"})
    with pytest.raises(UserError, match="multiple of 32"):
        make(**{"decoder.width": 48})


def test_what_is_new_is_reported():
    model = make(**{"model.parallel": "separate"})
    added = sum(p.numel() for n, p in model.named_parameters() if ".patch_attn." in n)
    taken = sum(p.numel() for p in model.backbone.parameters()) - added
    new = [n for n, _ in model.backbone.named_parameters() if ".patch_attn." in n]
    text = report(model, config(), new)
    assert f"{taken:,} of them from the checkpoint" in text and f"{added:,} of a second" in text
