"""Options of a model: out of its tensors and of what lies beside them, or refused."""

import numpy as np
import pytest

from rats_jax.errors import UserError
from tests.weights.state_dicts import DEPTH, GRID, HIDDEN, PATCH, WIDTH, recognised, state_dict

CONFIG = {"model_type": "vit", "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "patch_size": 4}
CONFIG |= {"num_attention_heads": 8, "intermediate_size": HIDDEN, "image_size": 20}
CONFIG |= {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "qkv_bias": True}


def test_a_config_says_heads_and_eps():
    found = recognised(state_dict("transformers ViT"), CONFIG, source="x")
    assert (found.options.heads, found.options.norm_eps) == (8, 1e-3)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("num_hidden_layers", 2, r"x: layers.2.* is there, but config.json says num_hidden_layers"),
        ("num_hidden_layers", 4, r"x: layers.3.* is missing"),
        ("hidden_size", 192, "hidden_size 192, but only 128 fits"),
        ("intermediate_size", 512, "intermediate_size 512, but only 256"),
        ("patch_size", [8, 8], "patch_size 8, but only 4 fits"),
        ("patch_size", "4", "patch_size '4' in its config.json cannot be read"),
        ("image_size", 224, "pos_embed is of 5 x 5 patches.*image_size 224"),
        ("hidden_act", "quick_gelu", "hidden_act 'quick_gelu', but only 'gelu'"),
        ("num_attention_heads", 7, "how many heads"),
        ("num_attention_heads", None, None),
        ("layer_norm_eps", float("nan"), "layer_norm_eps nan"),
        ("model_type", "dinov3_convnext", "model_type 'dinov3_convnext', which cannot be read"),
        ("model_type", "deit", "model_type 'deit', which cannot be read; what can is vit, vit_mae"),
    ],
)
def test_a_config_that_says_otherwise(setting, value, message):
    state, settings = state_dict("transformers ViT"), {**CONFIG, setting: value}
    if message is None:
        assert recognised(state, settings, source="x").options.heads == WIDTH // 64
        return
    with pytest.raises(UserError, match=message) as error:
        recognised(state, settings, source="x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("switch", "lacking"), [(True, False), (False, True), (None, True)])
def test_a_bias_that_no_layer_has_is_zeros_unless_config_promises_it(switch, lacking):
    state = state_dict("transformers ViT")
    state = {name: x for name, x in state.items() if not name.endswith("k_proj.bias")}
    settings = {**CONFIG, "qkv_bias": switch}
    if not lacking:
        with pytest.raises(UserError, match=r"x: layers.0.attention.k_proj.bias is missing"):
            recognised(state, settings, source="x")
        return
    bias = recognised(state, settings, source="x").arrays["blocks.1.attn.qkv.bias"]
    assert (bias[WIDTH : 2 * WIDTH] == 0).all() and (bias[2 * WIDTH :] > 0).all()


@pytest.mark.parametrize("act", ["silu", "gelu"])
def test_a_gate_of_dinov3_is_silu(act):
    state = state_dict("transformers DINOv3", gated=True)
    settings = {"model_type": "dinov3_vit", "use_gated_mlp": True, "hidden_act": act}
    if act == "silu":
        assert recognised(state, settings, source="x").options.gated_mlp
    else:
        with pytest.raises(UserError, match="hidden_act 'gelu', but only 'silu'"):
            recognised(state, settings, source="x")


def test_heads_that_nothing_tells_are_not_guessed():
    """ViT-H has heads of 80: as many features as 20 heads of 64."""
    wide = {"patch_embed.proj.weight": np.zeros((1280, 3, 14, 14), np.float32)}
    state = {}
    for name, x in state_dict("DINO v1 or timm").items():
        shape = [1280 * n // WIDTH if n in (WIDTH, 2 * WIDTH, 3 * WIDTH) else n for n in x.shape]
        state[name] = np.broadcast_to(np.float32(0), shape)
    with pytest.raises(UserError, match="how many heads share its width of 1280"):
        recognised(state | wide, None, source="x")


def test_positions_that_are_no_square():
    state = state_dict("DINO v1 or timm")
    state["pos_embed"] = np.zeros((1, 1 + 4 * 6, WIDTH), np.float32)
    with pytest.raises(UserError, match="24 positions in pos_embed are no square"):
        recognised(state, None, source="x")


def test_timm_has_positions_for_the_patches_alone():
    state = state_dict("timm")
    state["pos_embed"] = state["pos_embed"][:, 1:]
    found = recognised(state, None, source="x")
    assert found.options.image_size == GRID * PATCH
    assert (found.arrays["pos_embed"][:, 0] == 0).all()
    np.testing.assert_array_equal(found.arrays["pos_embed"][:, 1:], state["pos_embed"])


def test_a_config_of_timm_says_how_positions_are_resampled():
    state, settings = state_dict("DINO v1 or timm"), {"pretrained_cfg": {}, "architecture": "vit"}
    found = [recognised(state, given, source="x").options for given in (None, settings)]
    resampled = [(options.positions, options.position_offset) for options in found]
    assert resampled == [("learned", 0.1), ("learned_antialiased", 0.0)]


def test_our_own_options_stand():
    options = {"architecture": "rats", "width": WIDTH, "depth": 1, "heads": 2, "patch": 4}
    options |= {"image_size": 8, "position_offset": 0.1}
    state = {
        "patch_embed.proj.weight": np.zeros((WIDTH, 3, 4, 4)),
        "registers": np.zeros((1, 4, 8)),
    }
    for settings in ({"model_type": "rats", "options": options}, {"rats_options": options}):
        in_checkpoint = {f"backbone.{name}": x for name, x in state.items()}
        in_checkpoint["head.mlp.0.weight"] = np.zeros(3)
        found = recognised(in_checkpoint, settings, source="x")
        assert found.options.asdict() == options and found.arrays.keys() == state.keys()
        assert found.left_out == ["head.mlp.0.weight"]
    for wrong, told in [
        ({"remat": "none"}, "'remat'"),
        ({"unroll": 0}, "'unroll'"),
        ({"position_offset": "a"}, "'position_offset' 'a'"),
        ({"width": 10**9}, "'width' 1000000000"),
        ({"depth": True}, "'depth' True"),
    ]:
        with pytest.raises(UserError, match=told):
            recognised(state, {"options": options | wrong}, source="x")
    del options["heads"]
    with pytest.raises(UserError, match="no option 'heads'"):
        recognised(state, {"options": options}, source="x")


def test_what_was_assumed_is_said():
    def assumed(name, settings):
        return recognised(state_dict(name), settings, source="x").assumed

    config = {"num_attention_heads": 2}
    assert assumed("DINO v1 or timm", config) == ["positions resampled as in DINO v1"]
    assert assumed("timm", config) == ["positions resampled as in timm"]
    assert assumed("DINOv2", config) == []
    assert assumed("DINOv3", None) == []  # its periods tell
