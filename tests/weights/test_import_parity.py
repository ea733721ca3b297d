"""Weights of other implementations, run by these and by us: the same features.

transformers is the real one, as installed, with random weights that all matter.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers

from rats_jax.backbones import open_backbone
from tests.torch_reference import models as reference
from tests.torch_reference.dino import DINOHead, MultiCropWrapper

TOLERANCE = 2e-5
NATIVE, PIXELS = (48, 48), [(48, 48), (80, 64), (24, 56)]  # larger and smaller, in patches of 8
SIZE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZE |= {"image_size": 48, "patch_size": 8, "layer_norm_eps": 1e-3}
BIASES = ("query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias")
MODELS = {
    "vit": ("ViT", {"intermediate_size": 96}),
    "vit without bias": ("ViT", {"intermediate_size": 96, "qkv_bias": False}),
    "msn": ("ViTMSN", {"intermediate_size": 96}),
    "mae": ("ViTMAE", {"intermediate_size": 96, "mask_ratio": 0.0}),
    "dinov2": ("Dinov2", {"mlp_ratio": 3}),
    "dinov2 gated": ("Dinov2", {"use_swiglu_ffn": True}),
    "dinov2 registers": ("Dinov2WithRegisters", {"num_register_tokens": 3}),
    "dinov2 registers gated": ("Dinov2WithRegisters", {"use_swiglu_ffn": True}),
    "dinov3": ("DINOv3ViT", {"intermediate_size": 96, "num_register_tokens": 3}),
    "dinov3 gated": (
        "DINOv3ViT",
        {"intermediate_size": 96, "use_gated_mlp": True, "hidden_act": "silu", "rope_theta": 50.0},
    ),
    "dinov3 with every bias": ("DINOv3ViT", {"intermediate_size": 96, "key_bias": True}),
    "dinov3 without bias": (
        "DINOv3ViT",
        {"intermediate_size": 96, "num_register_tokens": 1} | dict.fromkeys(BIASES, False),
    ),
}


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def randomise(module: torch.nn.Module, *, seed: int = 0) -> torch.nn.Module:
    """As in torch_reference/weights.py: norms and gains about 1, biases and tokens not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in module.named_parameters():
            noise = torch.randn(x.shape, generator=generator)
            if "norm" in name and name.endswith("weight") or name.endswith(("lambda1", "gamma")):
                x.copy_(1 + 0.2 * noise)
            elif x.ndim == 1:
                x.copy_(0.2 * noise)
            elif x.ndim == 3:  # tokens and positions
                x.copy_(noise)
            else:
                x.copy_(0.08 * noise)
    return module.eval()


def make(kind: str, *, head: bool = False, **others):
    """A model of transformers."""
    name, options = MODELS[kind]
    config = getattr(transformers, f"{name}Config")(**SIZE | options | others)
    return randomise(
        getattr(transformers, name + ("ForImageClassification" if head else "Model"))(config)
    )


def images_of(pixels: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, *pixels, 3)).astype(np.float32)


def nchw(images: np.ndarray) -> torch.Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2)


@torch.no_grad()
def tokens_of(model, images: np.ndarray) -> torch.Tensor:
    """[B, [CLS] + registers + patches, D] of a model of transformers."""
    kind, options = model.config.model_type, {}
    if kind.startswith("vit"):
        options["interpolate_pos_encoding"] = True
    if kind == "vit_mae":  # which else gives the patches in an order drawn at random
        patches = images.shape[1] * images.shape[2] // model.config.patch_size**2
        options["noise"] = torch.arange(patches).expand(len(images), -1)
    output = model(nchw(images), **options)
    if not kind.startswith("vit"):  # whose pooler is no part of the backbone
        torch.testing.assert_close(output.pooler_output, output.last_hidden_state[:, 0])
    return output.last_hidden_state


def assert_same(path: Path, tokens, pixels=PIXELS, weights: str = "teacher") -> None:
    """tokens: images -> [B, [CLS] + registers + patches, D]."""
    backbone = open_backbone(str(path), weights=weights)
    for size in pixels:
        images = images_of(size)
        ours = jax.jit(backbone.features)(images)
        ours = np.concatenate([ours.global_vector[:, None], ours.registers, ours.patches], axis=1)
        np.testing.assert_allclose(
            ours, tokens(images).numpy(), rtol=0, atol=TOLERANCE, err_msg=str(size)
        )


@pytest.mark.parametrize("kind", MODELS)
def test_folder_of_transformers(kind, tmp_path):
    """Which version 5 fills with the old names."""
    model = make(kind)
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, lambda images: tokens_of(model, images))


@pytest.mark.parametrize("kind", MODELS)
def test_state_dict_of_transformers(kind, tmp_path):
    """With the names that version 5 has in memory."""
    model = make(kind)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    assert_same(tmp_path / "weights.pth", lambda images: tokens_of(model, images), PIXELS[1:2])


@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov2 registers"])
def test_under_a_classifier(kind, tmp_path):
    model = make(kind, head=True)
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, lambda images: tokens_of(model.base_model, images), [NATIVE])


def test_beside_the_decoder_of_mae(tmp_path):
    name, options = MODELS["mae"]
    config = transformers.ViTMAEConfig(**SIZE | options | {"decoder_num_hidden_layers": 1})
    model = randomise(transformers.ViTMAEForPreTraining(config))
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, lambda images: tokens_of(model.vit, images))
    assert "decoder (" in open_backbone(tmp_path).origin


@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov2 registers", "dinov3"])
def test_what_a_state_dict_alone_does_not_say(kind, tmp_path):
    """Heads of 64, and the eps of the published models."""
    eps = {"vit": 1e-12, "dinov3": 1e-5}.get(kind, 1e-6)
    model = make(kind, hidden_size=128, num_attention_heads=2, layer_norm_eps=eps)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    assert_same(tmp_path / "weights.pth", lambda images: tokens_of(model, images), PIXELS[1:2])


# The layouts of Meta's own code: DINO by the literal reference, the others by transformers' models
# under other names.


@pytest.mark.parametrize("weights", ["teacher", "student"])
def test_official_dino_checkpoint(weights, tmp_path):
    size = {"width": 128, "depth": 2, "heads": 2, "patch_size": 8, "image_size": 48}
    networks = {
        name: randomise(
            MultiCropWrapper(reference.ViT(**size), DINOHead(128, prototypes=16, hidden=32)),
            seed=seed,
        )
        for seed, name in enumerate(["teacher", "student"])
    }
    student = {f"module.{name}": x for name, x in networks["student"].state_dict().items()}
    content = {"teacher": networks["teacher"].state_dict(), "student": student, "epoch": 3}
    torch.save(content | {"args": {"arch": "vit_small", "patch_size": 8}}, tmp_path / "full.pth")

    @torch.no_grad()
    def tokens(images):
        features = networks[weights].backbone(nchw(images))
        return torch.cat([features.global_vector[:, None], features.patches], dim=1)

    assert_same(tmp_path / "full.pth", tokens, weights=weights)
    torch.save(networks[weights].backbone.state_dict(), tmp_path / "backbone.pth")
    assert_same(tmp_path / "backbone.pth", tokens, [NATIVE])


def hub_state(model, *, registers: str = "") -> dict[str, torch.Tensor]:
    """The weights of transformers' DINOv2 or DINOv3 as facebookresearch/dinov2 and dinov3 save
    them. registers: what these are called there."""
    dinov3, embeddings = model.config.model_type == "dinov3_vit", model.embeddings
    patches = embeddings.patch_embeddings
    modules = {
        "patch_embed.proj": patches if dinov3 else patches.projection,
        "norm": model.norm if dinov3 else model.layernorm,
    }
    state = {"cls_token": embeddings.cls_token, "mask_token": embeddings.mask_token}
    if not dinov3:
        state["pos_embed"] = embeddings.position_embeddings
    if registers:
        state[registers] = embeddings.register_tokens
    for i, layer in enumerate((model.model if dinov3 else model.encoder).layer):
        attention, mlp, name = layer.attention, layer.mlp, f"blocks.{i}"
        query, key, value = parts = attention.q_proj, attention.k_proj, attention.v_proj
        state |= {
            f"{name}.attn.qkv.weight": torch.cat([part.weight for part in parts]),
            f"{name}.ls1.gamma": layer.layer_scale1.lambda1,
            f"{name}.ls2.gamma": layer.layer_scale2.lambda1,
        }
        modules |= {f"{name}.norm1": layer.norm1, f"{name}.norm2": layer.norm2}
        modules |= {f"{name}.attn.proj": attention.o_proj}
        if key.bias is None:  # there it is a number that a mask makes 0
            ones, bias = torch.ones_like(query.bias), torch.full_like(query.bias, 3.0)
            state[f"{name}.attn.qkv.bias"] = torch.cat([query.bias, bias, value.bias])
            state[f"{name}.attn.qkv.bias_mask"] = torch.cat([ones, 0 * ones, ones])
        else:
            state[f"{name}.attn.qkv.bias"] = torch.cat([part.bias for part in parts])
        if hasattr(mlp, "gate_proj") and dinov3:
            modules |= {f"{name}.mlp.w1": mlp.gate_proj, f"{name}.mlp.w2": mlp.up_proj}
            modules |= {f"{name}.mlp.w3": mlp.down_proj}
        elif hasattr(mlp, "gate_proj"):
            for end in ("weight", "bias"):
                both = [getattr(part, end) for part in (mlp.gate_proj, mlp.up_proj)]
                state[f"{name}.mlp.w12.{end}"] = torch.cat(both)
            modules[f"{name}.mlp.w3"] = mlp.down_proj
        else:
            modules[f"{name}.mlp.fc1"] = mlp.up_proj if dinov3 else mlp.fc1
            modules[f"{name}.mlp.fc2"] = mlp.down_proj if dinov3 else mlp.fc2
    for name, module in modules.items():
        state |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
    return {name: x.detach().clone() for name, x in state.items()}


TWO_HEADS = {"hidden_size": 128, "num_attention_heads": 2, "layer_norm_eps": 1e-6}


@pytest.mark.parametrize("kind", ["dinov2 registers", "dinov2 registers gated"])
def test_hub_of_dinov2_with_registers(kind, tmp_path):
    model = make(kind, **TWO_HEADS)
    state = hub_state(model, registers="register_tokens")
    torch.save(state, tmp_path / "weights.pth")
    assert_same(tmp_path / "weights.pth", lambda images: tokens_of(model, images))


@pytest.mark.parametrize("kind", ["dinov2", "dinov2 gated"])
def test_hub_of_dinov2(kind, tmp_path, monkeypatch):
    """Also as its training saves it, in chunks of blocks and with heads beside."""

    def official(self, embeddings, height, width):
        table, patch = self.position_embeddings, self.patch_size
        patches = reference.interpolate_positions(
            table[:, 1:], rows=height // patch, columns=width // patch, offset=True
        )
        return torch.cat([table[:, :1], patches], dim=1)

    model = make(kind, **TWO_HEADS)
    monkeypatch.setattr(type(model.embeddings), "interpolate_pos_encoding", official)
    state = hub_state(model)
    torch.save(state, tmp_path / "weights.pth")
    assert_same(tmp_path / "weights.pth", lambda images: tokens_of(model, images))

    in_chunks = {name.replace("blocks.1.", "blocks.1.1."): x for name, x in state.items()}
    in_chunks = {name.replace("blocks.0.", "blocks.0.0."): x for name, x in in_chunks.items()}
    teacher = {f"backbone.{name}": x for name, x in in_chunks.items()}
    teacher |= {"dino_head.mlp.0.weight": torch.ones(3, 3), "ibot_head.mlp.0.bias": torch.ones(3)}
    torch.save({"teacher": teacher}, tmp_path / "training.pth")
    assert_same(tmp_path / "training.pth", lambda images: tokens_of(model, images), [NATIVE])


@pytest.mark.parametrize("kind", ["dinov3", "dinov3 gated"])
def test_hub_of_dinov3(kind, tmp_path):
    """With heads that are not 64 wide, which the number of periods tells; these are rounded to
    bfloat16, as those that are published."""
    model = make(kind, num_register_tokens=3, layer_norm_eps=1e-5)
    periods = 100 ** (torch.arange(4) / 4)
    rounded = periods.bfloat16().float()
    assert (rounded != periods).any()
    model.rope_embeddings.inv_freq = 1 / rounded
    state = hub_state(model, registers="storage_tokens") | {"rope_embed.periods": rounded}
    state |= {"local_cls_norm.weight": torch.ones(64), "local_cls_norm.bias": torch.ones(64)}
    torch.save(state, tmp_path / "weights.pth")
    assert_same(tmp_path / "weights.pth", lambda images: tokens_of(model, images))
