"""State dicts of other implementations: which is which, and what is refused.

That the features come out the same is in test_import_parity.py.
"""

import re

import numpy as np
import pytest

from rats_jax.errors import UserError
from rats_jax.weights.layout_tables import BIAS_MASK, LAYOUTS, PERIODS, Layout
from rats_jax.weights.names import BACKBONE
from tests.weights.state_dicts import BY_TITLE, DEPTH, GRID, PATCH, WIDTH, recognised, state_dict

OURS = {row.name for row in BACKBONE} | {BIAS_MASK, PERIODS}


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
    found = recognised(state, None, source="x.pth")
    assert found.layout == f"in the layout of {title}"
    options = found.options
    assert (options.width, options.depth, options.heads) == (WIDTH, DEPTH, 2)
    assert (options.patch, options.mlp_ratio, options.gated_mlp) == (PATCH, 2, gated)
    assert options.image_size == (224 if options.positions == "rope" else GRID * PATCH)
    assert options.plain_registers == 2 * ("registers" in BY_TITLE[title].names)
    assert options.layer_scale == ("blocks.{i}.ls1.gamma" in BY_TITLE[title].names)
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
        options = recognised(state_dict(title), None, source="x").options
        said = options.norm_eps, options.positions, options.position_offset
        assert said == expected[title.removesuffix(", old names")], title


@pytest.mark.parametrize(("title", "gated"), CASES)
def test_a_missing_an_unknown_and_a_misshapen_tensor_are_each_named(title, gated):
    whole = state_dict(title, gated=gated, prefix="backbone.")
    layer = [name for name in whole if ".1." in name]
    for name in [*layer, next(name for name in whole if "norm.weight" in name)]:
        with pytest.raises(UserError, match=re.escape(f"x.pth: {name} is missing")):
            recognised({k: v for k, v in whole.items() if k != name}, None, source="x.pth")

    extra = {**whole, "backbone.blocks.1.attn.rel_pos_h": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match=r"x.pth: backbone.blocks.1.attn.rel_pos_h is unknown"):
        recognised(extra, None, source="x.pth")

    for name in layer:
        if whole[name].ndim == 2 and whole[name].shape[0] != whole[name].shape[1]:
            wrong = rf"x.pth: {re.escape(name)} is .*it is transposed"
            with pytest.raises(UserError, match=wrong):
                recognised({**whole, name: whole[name].T}, None, source="x.pth")


def test_the_first_layer_transposed_is_named_too():
    """The MLP's width is read off it."""
    state = state_dict("DINO v1 or timm")
    for name in ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight"):
        with pytest.raises(UserError, match=f"x.pth: {name} is .*it is transposed"):
            recognised({**state, name: state[name].T}, None, source="x.pth")


def test_a_layer_in_the_middle_is_missed():
    state = state_dict("transformers ViT")
    state = {name: x for name, x in state.items() if ".1." not in name}
    with pytest.raises(UserError, match=r"x.pth: layers.1.attention.q_proj.weight is missing"):
        recognised(state, None, source="x.pth")


# What is beside the backbone.


def test_heads_and_mask_tokens_are_left_out_and_said():
    state = state_dict("DINOv2", prefix="backbone.")
    others = ["dino_head.mlp.0.weight", "ibot_head.last_layer.weight_v"]
    state |= dict.fromkeys(others, np.zeros(3, np.float32))
    found = recognised(state, None, source="x")
    assert sorted(found.left_out) == ["backbone.mask_token", *others]
    assert not any("mask_token" in name or "head" in name for name in found.arrays)


def test_a_layer_by_another_spelling_is_unknown():
    state = state_dict("DINO v1 or timm")
    state["blocks.01.norm1.weight"] = state["blocks.1.norm1.weight"]
    with pytest.raises(UserError, match="x: blocks.01.norm1.weight is unknown"):
        recognised(state, None, source="x")


def test_integers_are_not_weights():
    state = state_dict("DINO v1 or timm")
    state["blocks.0.mlp.fc1.weight"] = state["blocks.0.mlp.fc1.weight"].astype(np.int8)
    with pytest.raises(UserError, match="x: blocks.0.mlp.fc1.weight is of int8"):
        recognised(state, None, source="x")


def test_a_mask_of_the_key_bias_is_applied():
    state = state_dict("DINOv3")
    name = "blocks.1.attn.qkv.bias"
    expected = state[name] * state[name + "_mask"]
    found = recognised(state, None, source="x")
    np.testing.assert_array_equal(found.arrays[name], expected)
    assert not any("mask" in name or "periods" in name for name in found.arrays)
    assert found.options.rope_periods == tuple(state[PERIODS].tolist())

    with pytest.raises(UserError, match=r"x: blocks.1.attn.qkv.bias_mask is not of zeros and ones"):
        recognised({**state, name + "_mask": np.full(3 * WIDTH, np.nan)}, None, source="x")
