"""What is beside a backbone: left out and named, or refused where it may be part of it."""

from dataclasses import replace

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.weights.sets import grouped
from tests.weights.state_dicts import recognised, state_dict

MAE = ["mask_token", "decoder_pos_embed", "decoder_blocks.0.norm1.weight", "decoder_pred.bias"]
BESIDE = {
    "MAE": ("", MAE),
    "MAE, wrapped": ("model.", [f"model.{name}" for name in MAE]),
    "iBOT": ("teacher.backbone.", ["teacher.backbone.masked_embed", "ibot_loss.center"]),
    "DINOv2": ("teacher.backbone.", ["teacher.ibot_head.mlp.0.weight"]),
    "Lightning": ("state_dict.backbone.", ["state_dict.projection_head.layers.0.weight"]),
    "MoCo": ("encoder_q.", ["queue", "queue_ptr", "encoder_q.head.0.weight"]),
    "average": ("module.", ["n_averaged"]),
    "SimSiam": ("backbone.", ["projector.0.weight", "predictor.0.weight", "neck.weight"]),
    "supervised": ("", ["head.weight", "fc.bias", "classifier.bias", "pre_logits.fc.weight"]),
    "Depth Anything": ("backbone.", ["neck.convs.0.weight", "head.conv1.weight"]),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_beside_a_whole_backbone_is_left_out_and_named(name):
    prefix, beside = BESIDE[name]
    state = state_dict("DINO v1 or timm", prefix=prefix)
    found = recognised(state | dict.fromkeys(beside, np.zeros(3)), None, source="x")
    assert sorted(found.left_out) == sorted(beside)
    expected = recognised(state, None, source="x")
    assert found.arrays.keys() == expected.arrays.keys()
    assert replace(found.options, position_offset=0) == replace(expected.options, position_offset=0)


def test_what_is_left_out_is_named_in_few_words():
    names = ["model.teacher.dino_head.mlp.0.weight", "model.teacher.dino_head.mlp.0.bias"]
    names += ["model.teacher.backbone.mask_token", "model.rng.state", "dino_loss.center"]
    assert grouped(names, "model.teacher.backbone.") == [
        "dino_head (2 tensors)",
        "mask_token",
        "rng.state",
        "dino_loss.center",
    ]
    assert grouped(["head.weight", "head.bias", "queue"], "") == ["head (2 tensors)", "queue"]


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ("dist_token", "the distillation token"),
        ("norm_pre.weight", "a norm before the first layer"),
        ("fc_norm.weight", "a norm after the patches are averaged"),
        ("blocks.0.attn.qkv.lora_A.weight", "of LoRA"),
        ("blocks.0.attn.relative_position_bias_table", "of relative positions"),
        ("blocks.1.attn.q_norm.weight", "a norm of queries and keys"),
        ("blocks.3.gate", "unknown"),
        ("blocks_more.0.weight", "unknown"),
        ("prompt_tokens", "unknown"),
        ("pos_embed_extra", "unknown"),
        ("adapter.down.weight", "unknown"),
    ],
)
def test_what_may_be_part_of_the_backbone_is_refused(prefix, extra, what):
    state = state_dict("DINO v1 or timm", prefix=prefix)
    with pytest.raises(UserError, match=f"x: {prefix}{extra} is unknown in the layout.*") as error:
        recognised(state | {prefix + extra: np.zeros(3)}, None, source="x")
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("beside", "title", "heads", "width"),
    [
        ({"decoder_pred.weight"}, "MAE", 2, 128),
        ({"decoder_embed.bias", "mask_token"}, "MAE", 16, 1280),
        ({"module.predictor.0.weight"}, "MoCo v3", 12, 384),
        ({"module.predictor.0.weight"}, "MoCo v3", 12, 768),
    ],
)
def test_methods_whose_names_are_those_of_dino_are_told_by_what_is_beside(
    beside, title, heads, width
):
    """MoCo v3's small ViT has heads of 32, and read with heads of 64 it computes nonsense."""
    prefix = "module.base_encoder." if title == "MoCo v3" else ""
    state = {
        prefix + name: np.broadcast_to(
            np.float32(0), [width * n // 128 if n > 100 else n for n in array.shape]
        )
        for name, array in state_dict("DINO v1 or timm").items()
    }
    found = recognised(state | dict.fromkeys(beside, np.zeros(3)), None, source="x")
    assert found.layout == f"in the layout of {title}"
    assert (found.options.heads, found.options.position_offset) == (heads, 0)
    said = f"{heads} heads, " + ("taken as 64 wide" if width == 128 else f"as in {title}")
    assert found.assumed == [said, f"positions resampled as in {title}"]
