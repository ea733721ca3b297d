"""Every layout that `--checkpoint` reads starts a ViT, and a RATS where it has the parts."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from rats_jax.assemble import backbone_options, make_model
from rats_jax.backbones import open_backbone
from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.errors import UserError
from rats_jax.runs.initial.mismatch import check_fits
from rats_jax.weights.layout_tables import BIAS_MASK, PERIODS
from tests.runs.initial.starts import folder_of, images, side, start
from tests.runs.tiny import tiny_config
from tests.weights.state_dicts import BY_TITLE, DEPTH, GRID, PATCH, WIDTH, state_dict
from tests.weights.test_layouts import CASES

FIELDS = {
    "model__width": WIDTH,
    "model__depth": DEPTH,
    "model__heads": 2,
    "model__patch": PATCH,
    "model__mlp_ratio": 2,
    "crops__global_size": 16,  # the weights are of 20 pixels
    "model__drop_path": 0.0,
}


def weights(title: str, *, gated: bool = False) -> dict[str, np.ndarray]:
    """A state dict in which every tensor matters: norms about 1, others about 0."""
    return {
        name: x
        if name.endswith(("bias_mask", "periods"))
        else (x - 1.5) * 0.4 + (x.ndim == 1 and ("norm" in name or "gamma" in name))
        for name, x in state_dict(title, gated=gated).items()
    }


@pytest.mark.parametrize(("title", "gated"), CASES)
def test_a_vit_of_each_layout_computes_the_same_at_its_start(title, gated, tmp_path):
    file = folder_of(weights(title, gated=gated), tmp_path)
    registers = 2 * ("registers" in BY_TITLE[title].names)
    fields = FIELDS | {"model__architecture": "vit", "model__plain_registers": registers}
    config, initial = start(file, **fields)
    assert initial.taken == ["backbone"] and config.init.taken == "backbone"
    assert "head (random)" in "\n".join(initial.lines)
    assert backbone_options(config).gated_mlp == gated
    network, _ = make_model(config)
    backbone = open_backbone(file)
    pixels = (images(16) - IMAGENET_MEAN) / IMAGENET_STD
    ours, theirs = network.features(side(initial), pixels), backbone.features(pixels)
    for x, y in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize(("title", "gated"), CASES)
def test_a_rats_takes_all_that_it_has(title, gated, tmp_path):
    state = weights(title, gated=gated)
    file = folder_of(state, tmp_path)
    if gated:
        with pytest.raises(UserError, match="a ViT with a gated MLP, which a RATS does not have"):
            start(file, **FIELDS)
        return
    config, initial = start(file, **FIELDS, init__registers="random")
    backbone, there = side(initial)["backbone"], open_backbone(file).params
    rope = BY_TITLE[title].positions == "rope"
    new = ["registers"] + ["positions"] * rope
    said = "\n".join(initial.lines)
    assert all(f"{name} (random)" in said for name in [*new, "head"])
    assert ("pos_embed" in backbone) != rope and "registers" not in backbone
    assert ("its rotary positions" in said) == rope
    assert "config.model.imported" not in said and config.model.imported == ""
    if not rope:
        assert f"positions are resampled from {GRID} x {GRID} to 4 x 4 patches" in said
    for name in ("norm1", "norm2"):
        np.testing.assert_array_equal(
            backbone["blocks"][name]["scale"], there["blocks"][name]["scale"]
        )
    np.testing.assert_array_equal(
        backbone["blocks"]["attn"]["qkv"]["kernel"], there["blocks"]["attn"]["qkv"]["kernel"]
    )
    scales = BY_TITLE[title].names.get("blocks.{i}.ls1.gamma")
    assert ("LayerScale is folded" in said) == bool(scales)
    for gain, module, last in (("ls1", "attn", "out"), ("ls2", "mlp", "fc2")):
        tokens = np.random.default_rng(0).standard_normal((5, WIDTH), np.float32)
        for i in range(DEPTH):
            was, now = (of["blocks"][module][last] for of in (there, backbone))
            hidden = was["kernel"][i].reshape(-1, WIDTH).shape[0]
            inputs = np.resize(tokens, (5, hidden))
            before, after = (
                inputs @ np.reshape(of["kernel"][i], (hidden, WIDTH)) + of["bias"][i]
                for of in (was, now)
            )
            if scales:
                name = BY_TITLE[title].names[f"blocks.{{i}}.{gain}.gamma"][0].format(i=i)
                before = before * state[name]
            np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_the_options_that_config_model_lacks_are_kept_in_one_field(tmp_path):
    state = weights("DINOv3", gated=True)
    file = folder_of(state, tmp_path)
    fields = FIELDS | {"model__architecture": "vit", "model__plain_registers": 2}
    config, _ = start(file, **fields)
    imported = json.loads(config.model.imported)
    assert imported.pop("rope_periods") == state[PERIODS].tolist()
    expected = {"norm_eps": 1e-5, "layer_scale": True, "gated_mlp": True, "positions": "rope"}
    assert imported == expected
    again, _ = start(file, **fields, model__imported=config.model.imported)
    assert again.model.imported == config.model.imported
    with pytest.raises(UserError, match=r"config\.model\.imported is not as config\.init"):
        start(file, **fields, model__imported='{"norm_eps": 1e-3}')


def test_another_normalisation_of_images_is_folded_into_the_patches(tmp_path):
    """0.5 in place of ImageNet's, as many of timm have it: compared on pixels."""
    state = weights("transformers ViT")
    file = folder_of(state, tmp_path)
    half = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(half))
    fields = FIELDS | {"model__architecture": "vit"}
    config, initial = start(file, **fields)
    assert "normalised by mean 0.5, 0.5, 0.5 and std 0.25, 0.25, 0.25" in "\n".join(initial.lines)
    network, _ = make_model(config)
    pixels = images(16)
    ours = network.features(side(initial), (pixels - IMAGENET_MEAN) / IMAGENET_STD)
    theirs = open_backbone(file).features((pixels - np.float32(0.5)) / np.float32(0.25))
    np.testing.assert_allclose(ours.patches, theirs.patches, atol=1e-4)
    kernel = side(initial)["backbone"]["patch_embed"]["kernel"]
    assert np.abs(kernel - np.transpose(state[_KERNEL], (2, 3, 1, 0))).max() > 0.01


_KERNEL = "embeddings.patch_embeddings.projection.weight"


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"model__width": 64}, "--config.model.width=128"),
        ({"model__heads": 4, "model__depth": 2}, "--config.model.depth=3 --config.model.heads=2"),
        (
            {"model__patch": 8, "crops__local_size": 19},
            "--config.model.patch=4 --config.crops.local_size=20",
        ),
        ({"model__mlp_ratio": 4}, "--config.model.mlp_ratio=2"),
    ],
)
@pytest.mark.parametrize("architecture", ["vit", "rats"])
def test_another_size_is_refused_with_the_flags_to_set(architecture, fields, flags, tmp_path):
    file = folder_of(weights("DINO v1 or timm"), tmp_path)
    wrong = FIELDS | {"model__architecture": architecture} | fields
    with pytest.raises(UserError, match=rf"describes: set {re.escape(flags)}$"):
        start(file, **wrong)


@pytest.mark.parametrize("depth", [12, 11])
def test_a_size_with_a_name_is_advised_by_it(depth):
    config = tiny_config(model__architecture="vit")
    wanted = backbone_options(config)
    given = replace(wanted, width=192, depth=depth, heads=3)
    size = {12: ["size=Ti"], 11: ["width=192", "depth=11"]}[depth]
    flags = " ".join(f"--config.model.{flag}" for flag in size)
    with pytest.raises(UserError, match=f"set {re.escape(flags)}$"):
        check_fits(given, wanted, config, checkpoint="x.pth")


def test_registers_of_the_weights_are_not_dropped(tmp_path):
    file = folder_of(weights("DINOv2 with registers"), tmp_path)
    with pytest.raises(UserError, match=r"set --config\.model\.plain_registers=2$"):
        start(file, **FIELDS, model__architecture="vit")


def test_a_mask_of_the_bias_is_in_what_is_taken(tmp_path):
    """Guards the helper of this file: masks stay zeros and ones."""
    masks = [x for name, x in weights("DINOv3").items() if BIAS_MASK.split(".")[-1] in name]
    assert masks and all(np.isin(x, (0, 1)).all() for x in masks)
