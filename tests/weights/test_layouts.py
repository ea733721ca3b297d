"""State dicts of other implementations: which is which, and what is refused.

That the features come out the same is in test_import_parity.py.
"""

import re

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.weights.layouts import recognise
from rats_jax.weights.names import BACKBONE
from rats_jax.weights.other_names import BIAS_MASK, LAYOUTS, PERIODS, Layout

WIDTH, DEPTH, HIDDEN, PATCH, GRID = 128, 3, 256, 4, 5
BY_TITLE = {layout.title: layout for layout in LAYOUTS}
OURS = {row.name for row in BACKBONE} | {BIAS_MASK, PERIODS}


def shape_of(ours: str, *, parts: int) -> tuple[int, ...]:
    """What a tensor is in its file when ours is made of `parts` like it."""
    shapes = {
        "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "pos_embed": (1, 1 + GRID**2, WIDTH),
        "cls_token": (1, 1, WIDTH),
        "registers": (1, 2, WIDTH),
        PERIODS: (16,),
        "attn.qkv.weight": (3 * WIDTH // parts, WIDTH),
        "attn.qkv.bias": (3 * WIDTH // parts,),
        "attn.qkv.bias_mask": (3 * WIDTH,),
        "attn.proj.weight": (WIDTH, WIDTH),
        "mlp.fc1.weight": (HIDDEN, WIDTH),
        "mlp.fc1.bias": (HIDDEN,),
        "mlp.fc2.weight": (WIDTH, HIDDEN),
        "mlp.w12.weight": (2 * HIDDEN // parts, WIDTH),
        "mlp.w12.bias": (2 * HIDDEN // parts,),
        "mlp.w3.weight": (WIDTH, HIDDEN),
    }
    return shapes.get(ours.removeprefix("blocks.{i}."), (WIDTH,))


def state_dict(title: str, *, gated: bool = False, prefix: str = "") -> dict[str, np.ndarray]:
    """All that the layout has a name for, with one kind of MLP; and a mask token in Meta's own."""
    rng, state = np.random.default_rng(0), {}
    for ours, theirs in BY_TITLE[title].names.items():
        if re.search(r"mlp\.fc" if gated else r"mlp\.w", ours):
            continue
        for i in range(DEPTH) if "{i}" in ours else (0,):
            for name in theirs:
                shape = shape_of(ours, parts=len(theirs))
                array = rng.uniform(1, 2, shape).astype(np.float32)
                array = array.round() - 1 if ours == BIAS_MASK else array
                state[prefix + name.format(i=i)] = array
    if title.startswith("DINOv"):
        state[prefix + "mask_token"] = np.zeros((1, WIDTH), np.float32)
    return state


def has_gated(layout: Layout) -> bool:
    return "blocks.{i}.mlp.w12.weight" in layout.names


CASES = [
    pytest.param(title, gated, id=f"{title}{', gated' if gated else ''}")
    for title, layout in BY_TITLE.items()
    for gated in [False, True][: 1 + has_gated(layout)]
]


def test_the_tables_name_what_we_have():
    assert len(BY_TITLE) == len(LAYOUTS)
    for layout in LAYOUTS:
        assert layout.names.keys() <= OURS, layout.title
        assert layout.may_lack.keys() <= layout.names.keys(), layout.title
        for ours, switches in layout.may_lack.items():
            assert len(switches) == len(layout.names[ours]), (layout.title, ours)


@pytest.mark.parametrize(("title", "gated"), CASES)
def test_each_layout_is_recognised(title, gated):
    state = state_dict(title, gated=gated, prefix="module.backbone.")
    found = recognise(state, None, source="x.pth")
    assert found.layout == f"in the layout of {title}"
    options = found.options
    assert (options["width"], options["depth"], options["heads"]) == (WIDTH, DEPTH, 2)
    assert (options["patch"], options["mlp_ratio"], options["gated_mlp"]) == (PATCH, 2, gated)
    assert options["image_size"] == (224 if options["positions"] == "rope" else GRID * PATCH)
    assert options["plain_registers"] == 2 * ("registers" in BY_TITLE[title].names)
    assert options["layer_scale"] == ("blocks.{i}.ls1.gamma" in BY_TITLE[title].names)
    assert found.left_out == ["module.backbone.mask_token"] * title.startswith("DINOv")

    # Each array under its own name; what is stacked, in its order.
    for ours, theirs in BY_TITLE[title].names.items():
        if ours in (PERIODS, BIAS_MASK, "blocks.{i}.attn.qkv.bias"):
            continue
        for i in range(DEPTH) if "{i}" in ours else (0,):
            parts = [state.get(f"module.backbone.{name.format(i=i)}") for name in theirs]
            if re.search(r"mlp\.fc" if gated else r"mlp\.w", ours):
                assert ours.format(i=i) not in found.arrays
            else:
                np.testing.assert_array_equal(found.arrays[ours.format(i=i)], np.concatenate(parts))


def test_what_files_do_not_say_is_as_in_the_code_they_are_of():
    """Each with the eps of its LayerNorms, and how positions are resampled."""
    plain, antialiased, rope = ("learned", 0.0), ("learned_antialiased", 0.0), ("rope", 0.0)
    expected = {
        "DINO v1 or timm": (1e-6, "learned", 0.1),
        "timm": (1e-6, *antialiased),
        "DINOv2": (1e-6, "learned", 0.1),
        "DINOv2 with registers": (1e-6, *antialiased),
        "DINOv3": (1e-5, *rope),
        "transformers ViT": (1e-12, *plain),
        "transformers DINOv2": (1e-6, *plain),
        "transformers DINOv2 with registers": (1e-6, *antialiased),
        "transformers DINOv3": (1e-5, *rope),
    }
    for title in BY_TITLE:
        options = recognise(state_dict(title), None, source="x").options
        said = tuple(options[name] for name in ("norm_eps", "positions", "position_offset"))
        assert said == expected[title.removesuffix(", old names")], title


@pytest.mark.parametrize(("title", "gated"), CASES)
def test_a_missing_an_unknown_and_a_misshapen_tensor_are_each_named(title, gated):
    whole = state_dict(title, gated=gated, prefix="backbone.")
    layer = [name for name in whole if ".1." in name]
    for name in [*layer, next(name for name in whole if "norm.weight" in name)]:
        with pytest.raises(UserError, match=re.escape(f"x.pth: {name} is missing")):
            recognise({k: v for k, v in whole.items() if k != name}, None, source="x.pth")

    extra = {**whole, "backbone.blocks.1.attn.rel_pos_h": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match=r"x.pth: backbone.blocks.1.attn.rel_pos_h is unknown"):
        recognise(extra, None, source="x.pth")

    for name in layer:
        if whole[name].ndim == 2 and whole[name].shape[0] != whole[name].shape[1]:
            wrong = rf"x.pth: {re.escape(name)} is .*it is transposed"
            with pytest.raises(UserError, match=wrong):
                recognise({**whole, name: whole[name].T}, None, source="x.pth")


def test_the_first_layer_transposed_is_named_too():
    """The MLP's width is read off it."""
    state = state_dict("DINO v1 or timm")
    for name in ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"):
        with pytest.raises(UserError, match=f"x.pth: {name} is .*it is transposed"):
            recognise({**state, name: state[name].T}, None, source="x.pth")


def test_a_layer_in_the_middle_is_missed():
    state = state_dict("transformers ViT")
    state = {name: x for name, x in state.items() if ".1." not in name}
    with pytest.raises(UserError, match=r"x.pth: layers.1.attention.q_proj.weight is missing"):
        recognise(state, None, source="x.pth")


# What is beside the tensors.

CONFIG = {"model_type": "vit", "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "patch_size": 4}
CONFIG |= {"num_attention_heads": 8, "intermediate_size": HIDDEN, "image_size": 20}
CONFIG |= {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "qkv_bias": True}


def test_a_config_says_heads_and_eps():
    found = recognise(state_dict("transformers ViT"), CONFIG, source="x")
    assert (found.options["heads"], found.options["norm_eps"]) == (8, 1e-3)


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
        ("model_type", "deit", "model_type 'deit', which cannot be read; what can is vit, dinov2"),
    ],
)
def test_a_config_that_says_otherwise(setting, value, message):
    state, settings = state_dict("transformers ViT"), {**CONFIG, setting: value}
    if message is None:
        assert recognise(state, settings, source="x").options["heads"] == WIDTH // 64
        return
    with pytest.raises(UserError, match=message) as error:
        recognise(state, settings, source="x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("switch", "lacking"), [(True, False), (False, True), (None, True)])
def test_a_bias_that_no_layer_has_is_zeros_unless_config_promises_it(switch, lacking):
    state = state_dict("transformers ViT")
    state = {name: x for name, x in state.items() if not name.endswith("k_proj.bias")}
    settings = {**CONFIG, "qkv_bias": switch}
    if not lacking:
        with pytest.raises(UserError, match=r"x: layers.0.attention.k_proj.bias is missing"):
            recognise(state, settings, source="x")
        return
    bias = recognise(state, settings, source="x").arrays["blocks.1.attn.qkv.bias"]
    assert (bias[WIDTH : 2 * WIDTH] == 0).all() and (bias[2 * WIDTH :] > 0).all()


@pytest.mark.parametrize("act", ["silu", "gelu"])
def test_a_gate_of_dinov3_is_silu(act):
    state = state_dict("transformers DINOv3", gated=True)
    settings = {"model_type": "dinov3_vit", "use_gated_mlp": True, "hidden_act": act}
    if act == "silu":
        assert recognise(state, settings, source="x").options["gated_mlp"]
    else:
        with pytest.raises(UserError, match="hidden_act 'gelu', but only 'silu'"):
            recognise(state, settings, source="x")


def test_heads_that_nothing_tells_are_not_guessed():
    """ViT-H has heads of 80: as many features as 20 heads of 64."""
    wide = {"patch_embed.proj.weight": np.zeros((1280, 3, 14, 14), np.float32)}
    state = {}
    for name, x in state_dict("DINO v1 or timm").items():
        shape = [1280 * n // WIDTH if n in (WIDTH, 2 * WIDTH, 3 * WIDTH) else n for n in x.shape]
        state[name] = np.broadcast_to(np.float32(0), shape)
    with pytest.raises(UserError, match="how many heads share its width of 1280"):
        recognise(state | wide, None, source="x")


def test_positions_that_are_no_square():
    state = state_dict("DINO v1 or timm")
    state["pos_embed"] = np.zeros((1, 1 + 4 * 6, WIDTH), np.float32)
    with pytest.raises(UserError, match="24 positions in pos_embed are no square"):
        recognise(state, None, source="x")


def test_timm_has_positions_for_the_patches_alone():
    state = state_dict("timm")
    state["pos_embed"] = state["pos_embed"][:, 1:]
    found = recognise(state, None, source="x")
    assert found.options["image_size"] == GRID * PATCH
    assert (found.arrays["pos_embed"][:, 0] == 0).all()
    np.testing.assert_array_equal(found.arrays["pos_embed"][:, 1:], state["pos_embed"])


def test_a_config_of_timm_says_how_positions_are_resampled():
    state, settings = state_dict("DINO v1 or timm"), {"pretrained_cfg": {}, "architecture": "vit"}
    found = [recognise(state, given, source="x").options for given in (None, settings)]
    resampled = [(options["positions"], options["position_offset"]) for options in found]
    assert resampled == [("learned", 0.1), ("learned_antialiased", 0.0)]


# What is beside the backbone.


def test_heads_and_mask_tokens_are_left_out_and_said():
    state = state_dict("DINOv2", prefix="backbone.")
    others = ["dino_head.mlp.0.weight", "ibot_head.last_layer.weight_v"]
    state |= dict.fromkeys(others, np.zeros(3, np.float32))
    found = recognise(state, None, source="x")
    assert sorted(found.left_out) == ["backbone.mask_token", *others]
    assert not any("mask_token" in name or "head" in name for name in found.arrays)


def test_what_is_neither_backbone_nor_head_is_refused():
    state = state_dict("DINOv2", prefix="backbone.") | {"neck.weight": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match="x has neck.weight, which is no part of a ViT"):
        recognise(state, None, source="x")


def test_two_backbones_and_none_are_refused():
    two = state_dict("DINOv2", prefix="student.") | state_dict("DINOv2", prefix="teacher.")
    with pytest.raises(UserError, match=r"x has several backbones, \['student.', 'teacher.'\]"):
        recognise(two, None, source="x")
    with pytest.raises(UserError, match="x has no patch_embed.proj.weight"):
        recognise({"conv1.weight": np.zeros((8, 3, 7, 7), np.float32)}, None, source="x")


def test_one_layer_in_two_chunks_is_refused():
    state = state_dict("DINOv2")
    name = "blocks.0.norm1.weight"
    twice = {**state, "blocks.1.0.norm1.weight": state[name]}
    with pytest.raises(UserError, match=r"x has blocks.1.0.norm1.weight, which it has in another"):
        recognise(twice, None, source="x")


def test_a_layer_by_another_spelling_is_unknown():
    state = state_dict("DINO v1 or timm")
    state["blocks.01.norm1.weight"] = state["blocks.1.norm1.weight"]
    with pytest.raises(UserError, match="x: blocks.01.norm1.weight is unknown"):
        recognise(state, None, source="x")


def test_integers_are_not_weights():
    state = state_dict("DINO v1 or timm")
    state["blocks.0.mlp.fc1.weight"] = state["blocks.0.mlp.fc1.weight"].astype(np.int8)
    with pytest.raises(UserError, match="x: blocks.0.mlp.fc1.weight is of int8"):
        recognise(state, None, source="x")


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
        found = recognise(in_checkpoint, settings, source="x")
        assert found.options == options and found.arrays.keys() == state.keys()
        assert found.left_out == ["head.mlp.0.weight"]
    for wrong, told in [
        ({"remat": "none"}, "'remat'"),
        ({"unroll": 0}, "'unroll'"),
        ({"position_offset": "a"}, "'position_offset' 'a'"),
        ({"width": 10**9}, "'width' 1000000000"),
        ({"depth": True}, "'depth' True"),
    ]:
        with pytest.raises(UserError, match=told):
            recognise(state, {"options": options | wrong}, source="x")
    del options["heads"]
    with pytest.raises(UserError, match="no option 'heads'"):
        recognise(state, {"options": options}, source="x")


def test_what_was_assumed_is_said():
    def assumed(name, settings):
        return recognise(state_dict(name), settings, source="x").assumed

    config = {"num_attention_heads": 2}
    assert assumed("DINO v1 or timm", config) == ["positions resampled as in DINO v1"]
    assert assumed("timm", config) == ["positions resampled as in timm"]
    assert assumed("DINOv2", config) == []
    assert assumed("DINOv3", None) == []  # its periods tell


def test_a_mask_of_the_key_bias_is_applied():
    state = state_dict("DINOv3")
    name = "blocks.1.attn.qkv.bias"
    expected = state[name] * state[name + "_mask"]
    found = recognise(state, None, source="x")
    np.testing.assert_array_equal(found.arrays[name], expected)
    assert not any("mask" in name or "periods" in name for name in found.arrays)
    assert found.options["rope_periods"] == state[PERIODS].tolist()

    with pytest.raises(UserError, match=r"x: blocks.1.attn.qkv.bias_mask is not of zeros and ones"):
        recognise({**state, name + "_mask": np.full(3 * WIDTH, np.nan)}, None, source="x")
