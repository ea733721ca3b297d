"""An export in transformers: remote code from a folder, offline, with a cache of its own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from flax import nnx
from PIL import Image
from safetensors.torch import load_file, save_file

transformers = pytest.importorskip("transformers")
from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel  # noqa: E402

from rats_jax.models import make_backbone, options_of  # noqa: E402
from rats_jax.torch_export import hugging_face, one_file  # noqa: E402
from tests.torch_reference.weights import randomised  # noqa: E402

SMALL = {"width": 24, "depth": 3, "heads": 3, "image_size": 32, "patch": 8}
MODELS = {
    "rats": SMALL | {"architecture": "rats", "registers_per_head": 2},
    "vit": SMALL | {"architecture": "vit", "plain_registers": 2},
    "perceiver": SMALL | {"architecture": "perceiver", "latents": 4, "queries": 5},
    "at 224 px": {"architecture": "rats", "width": 8, "depth": 1, "heads": 1, "image_size": 224},
}
ARCHITECTURES = ("rats", "vit", "perceiver")
SIZES = [(32, 32), (24, 48)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Where transformers copies remote code to."""
    cache = str(tmp_path / "modules")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.fixture
def export(tmp_path):
    def write(name="rats"):
        folder, options = tmp_path / "an.export-1", MODELS[name]
        folder.mkdir()
        state = nnx.state(nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0))))
        params = randomised(nnx.to_pure_dict(state), seed=1)
        one_file.write(folder, options=options_of(options), params=params, about={"step": 7})
        hugging_face.write(folder)
        return folder

    return write


def open_model(folder, **options):
    return AutoModel.from_pretrained(folder, trust_remote_code=True, **options)


def draw(pixels) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, *pixels), np.float32))


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_auto_model_equals_the_one_file_module(export, name):
    folder = export(name)
    expected = one_file.modeling(folder).load(folder)
    model, info = open_model(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert not model.training
    for pixels in SIZES:
        images = draw(pixels)
        output, features = model(images), expected(images)
        assert torch.equal(output.last_hidden_state, features.patches)
        assert torch.equal(output.pooler_output, features.global_vector)
        assert torch.equal(output.registers, features.registers)
    for ours, theirs in zip(
        hugging_face.outputs(folder, images.numpy()), features[:3], strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_hidden_states_and_attentions_come_when_asked_for(export, name):
    folder = export(name)
    images, expected = draw((32, 48)), one_file.modeling(folder).load(folder)
    layers = (0,) if name == "perceiver" else (0, 1, 2)
    attention = expected(images, attention_of=layers).attention
    model = open_model(folder)
    assert model(images).hidden_states is None and model(images).attentions is None
    output = model(images, output_hidden_states=True, output_attentions=True)
    assert len(output.hidden_states) == 1 + 3
    for found, features in zip(output.hidden_states[1:], expected.each_layer(images), strict=True):
        assert torch.equal(found, features.patches)
    assert len(output.attentions) == len(layers)
    for layer, found in zip(layers, output.attentions, strict=True):
        assert torch.equal(found, attention[layer])
    assert torch.equal(model(images, return_dict=False)[0], output.last_hidden_state)


@pytest.mark.processes
def test_a_fresh_process_loads_it_offline(export, tmp_path):
    folder = export()
    code = f"""
import torch
from transformers import AutoModel
model = AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True)
print(model(torch.ones(1, 3, 32, 32)).pooler_output.sum().item())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "fresh")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = one_file.modeling(folder).load(folder)(torch.ones(1, 3, 32, 32)).global_vector
    assert float(done.stdout) == pytest.approx(expected.sum().item(), abs=1e-5)
    assert list((tmp_path / "fresh").rglob("modeling_rats.py"))


def test_the_image_processor_is_that_of_dino_evaluations(export):
    folder = export("at 224 px")
    processor = AutoImageProcessor.from_pretrained(folder)  # no remote code
    noise = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
    image = Image.fromarray(noise)
    found = processor(image, return_tensors="pt")["pixel_values"]
    expected = image.resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
    expected = (np.asarray(expected) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found[0].permute(1, 2, 0), expected, atol=1e-5)


@torch.no_grad()
def test_a_backbone_returns_maps_of_the_stages_chosen(export):
    folder = export()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True, out_indices=[0, 1, 3])
    backbone = AutoBackbone.from_config(config, trust_remote_code=True)
    assert backbone.out_features == ["stem", "stage1", "stage3"]
    assert backbone.channels == [24, 24, 24]
    expected = one_file.modeling(folder).load(folder)
    backbone.encoder.load_state_dict(open_model(folder).encoder.state_dict())
    images = draw((24, 48))
    layers = [x.patches for x in expected.each_layer(images)]
    maps = backbone(images).feature_maps
    assert [tuple(x.shape) for x in maps] == [(2, 24, 3, 6)] * 3
    for found, patches in zip(maps[1:], (layers[0], layers[2]), strict=True):
        assert torch.equal(found.flatten(2).transpose(1, 2), patches)

    named = AutoConfig.from_pretrained(folder, trust_remote_code=True, out_features=["stage2"])
    assert list(named.out_indices) == [2]


def test_a_head_of_transformers_trains_on_the_backbone(export):
    folder = export()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True, out_indices=[0, 1, 2, 3])
    AutoBackbone.from_config(config, trust_remote_code=True)  # makes the class known
    segmenter = transformers.UperNetForSemanticSegmentation(
        transformers.UperNetConfig(
            backbone_config=config, hidden_size=8, num_labels=4, use_auxiliary_head=False
        )
    )
    labels = torch.zeros(2, 32, 48, dtype=torch.long)
    output = segmenter(draw((32, 48)), labels=labels)
    assert output.logits.shape == (2, 4, 32, 48)
    output.loss.backward()
    assert segmenter.backbone.encoder.registers.grad.abs().sum() > 0


@pytest.mark.parametrize("what", ["model", "backbone"])
@torch.no_grad()
def test_a_saved_folder_loads_again_in_both_ways(export, tmp_path, what):
    folder = export()
    model = open_model(folder)
    if what == "backbone":
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True, out_indices=[1, 2])
        backbone = AutoBackbone.from_config(config, trust_remote_code=True)
        backbone.encoder.load_state_dict(model.encoder.state_dict())
        backbone.save_pretrained(tmp_path / "saved")
    else:
        model.save_pretrained(tmp_path / "saved")
    names = load_file(folder / "model.safetensors").keys()
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == names
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["options"] == MODELS["rats"] and config["made_from"] == {"step": 7}

    images = draw((32, 32))
    expected = model(images).registers
    assert torch.equal(open_model(tmp_path / "saved")(images).registers, expected)
    saved = one_file.modeling(tmp_path / "saved").load(tmp_path / "saved")
    assert torch.equal(saved(images).registers, expected)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_refused(export, change):
    folder = export()
    state = load_file(folder / "model.safetensors")
    if change == "missing":
        del state["blocks.1.attn.qkv.bias"]
    else:
        state["blocks.1.attn.more"] = torch.zeros(1)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{change}_keys .*blocks\.1\.attn"):
        open_model(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_close(export, dtype):
    folder = export()
    images = draw((32, 48))
    expected = open_model(folder)(images).pooler_output
    found = open_model(folder, dtype=dtype)(images).pooler_output
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True, dtype=dtype)
    backbone = AutoBackbone.from_config(config, trust_remote_code=True)
    assert backbone(images).feature_maps[0].dtype == dtype
