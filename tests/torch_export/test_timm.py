"""An export in timm; where timm is not installed, with what the file uses of it in its place."""

import importlib
import sys
import types

import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.torch import load_file, save_file

from rats_jax.models import make_backbone, options_of
from rats_jax.torch_export import hugging_face, one_file
from tests.torch_reference.weights import randomised

OPTIONS = {"width": 24, "depth": 3, "heads": 3, "image_size": 32, "patch": 8}
MODELS = {
    "rats": OPTIONS | {"architecture": "rats", "registers_per_head": 2},
    "vit": OPTIONS | {"architecture": "vit", "plain_registers": 2},
    "plain vit": OPTIONS | {"architecture": "vit", "plain_registers": 0},
    "perceiver": OPTIONS | {"architecture": "perceiver", "latents": 4, "queries": 5},
}
REGISTERS = {"rats": 6, "vit": 2, "plain vit": 0, "perceiver": 5}


@pytest.fixture
def export(tmp_path):
    def write(name="rats"):
        options = MODELS[name]
        state = nnx.state(nnx.eval_shape(lambda: make_backbone(options, rngs=nnx.Rngs(0))))
        params = randomised(nnx.to_pure_dict(state), seed=1)
        one_file.write(tmp_path, options=options_of(options), params=params, about={})
        hugging_face.write(tmp_path)
        return tmp_path

    return write


@pytest.fixture
def register(monkeypatch):
    """Imports a folder's timm_rats and returns what creates models."""

    def load(folder):
        monkeypatch.syspath_prepend(folder)
        for name in ("modeling_rats", "timm_rats"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.import_module("timm_rats")
        for name in ("modeling_rats", "timm_rats"):
            monkeypatch.delitem(sys.modules, name)

    return load


@pytest.fixture
def create(monkeypatch, register):
    """timm.create_model as far as these files are concerned."""
    models = types.ModuleType("timm.models")
    entries = {}
    models.register_model = lambda entry: entries.setdefault(entry.__name__, entry)
    models.build_model_with_cfg = lambda model, variant, pretrained, feature_cfg, **options: model(
        **options
    )
    timm = types.ModuleType("timm")
    timm.models = models
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.models", models)

    def make(folder, **options):
        register(folder)
        return entries["rats"](**options).eval()

    return make


def draw() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 24, 48), np.float32))


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_vectors_and_tokens_are_those_of_the_one_file_module(export, create, name):
    folder = export(name)
    expected = one_file.modeling(folder).load(folder)(draw())
    model = create(folder, pretrained=True)
    assert torch.equal(model(draw()), expected.global_vector)
    tokens = model.forward_features(draw())
    assert model.num_prefix_tokens == 1 + REGISTERS[name]
    assert torch.equal(tokens[:, 1 : model.num_prefix_tokens], expected.registers)
    assert torch.equal(tokens[:, model.num_prefix_tokens :], expected.patches)


@torch.no_grad()
def test_without_pretrained_the_weights_are_fresh(export, create):
    folder = export()
    fresh, trained = create(folder), create(folder, pretrained=True)
    assert not torch.equal(fresh(draw()), trained(draw()))
    assert fresh.encoder.options == trained.encoder.options


@torch.no_grad()
def test_a_classifier_can_be_had_and_changed(export, create):
    model = create(export(), pretrained=True, num_classes=7, global_pool="avg", drop_rate=0.1)
    patches = model.encoder(draw()).patches
    tokens = model.forward_features(draw())
    assert torch.equal(model.forward_head(tokens, pre_logits=True), patches.mean(1))
    assert model(draw()).shape == (2, 7) and model.get_classifier().out_features == 7
    model.reset_classifier(4, "token")
    assert model(draw()).shape == (2, 4)
    model.reset_classifier(0)
    assert torch.equal(model(draw()), tokens[:, 0])


@torch.no_grad()
def test_maps_of_layers_can_be_had(export, create):
    model = create(export(), pretrained=True)
    layers = [x.patches for x in model.encoder.each_layer(draw())]
    tokens, maps = model.forward_intermediates(draw(), indices=[0, -1])
    assert torch.equal(tokens, model.forward_features(draw()))
    assert [tuple(x.shape) for x in maps] == [(2, 24, 3, 6)] * 2
    for found, patches in zip(maps, (layers[0], layers[2]), strict=True):
        assert torch.equal(found.flatten(2).transpose(1, 2), patches)
    rows = model.forward_intermediates(draw(), indices=2, output_fmt="NLC", intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(rows, layers[1:], strict=True))
    assert [x["num_chs"] for x in model.feature_info] == [24] * 3


@pytest.mark.parametrize("classes", [0, 7])
def test_weights_that_do_not_fit_are_refused(export, create, classes):
    folder = export()
    state = load_file(folder / "model.safetensors")
    del state["registers"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(RuntimeError, match="registers"):
        create(folder, pretrained=True, num_classes=classes)


@torch.no_grad()
def test_timm_itself_creates_it(export, register):
    timm = pytest.importorskip("timm")
    folder = export()
    register(folder)
    expected = one_file.modeling(folder).load(folder)
    model = timm.create_model("rats", pretrained=True).eval()
    assert torch.equal(model(draw()), expected(draw()).global_vector)
    assert timm.create_model("rats", pretrained=True, num_classes=7)(draw()).shape == (2, 7)
    assert timm.data.resolve_model_data_config(model)["input_size"] == (3, 32, 32)
    maps = timm.create_model("rats", pretrained=True, features_only=True, out_indices=[0, 2])
    layers = [x.patches for x in expected.each_layer(draw())]
    for found, patches in zip(maps(draw()), (layers[0], layers[2]), strict=True):
        assert torch.equal(found.flatten(2).transpose(1, 2), patches)
