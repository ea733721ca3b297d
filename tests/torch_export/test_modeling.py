"""modeling_rats.py against the JAX models, and what it does by itself."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import torch
from flax import nnx

from rats_jax.models import SIZES, options_of
from rats_jax.torch_export import one_file
from rats_jax.weights import names
from tests.torch_export.models import MODELS, SMALL, draw, random_params

TOLERANCE = 1e-5  # absolute
PIXELS = [(96, 96), (224, 224), (320, 224), (512, 512)]
QUICK = {("Ti", (96, 96)), ("Ti", (320, 224))}
CASES = [
    pytest.param(
        size,
        name,
        pixels,
        id=f"{name}-{size}, {pixels[0]}x{pixels[1]}",
        marks=[]
        if (size, pixels) in QUICK or (name == "rats" and pixels[0] == 224)
        else [pytest.mark.slow],
    )
    for size in ("Ti", "S")
    for name in MODELS
    for pixels in PIXELS
]
modeling = one_file.modeling(one_file.FILES)


@pytest.fixture(autouse=True)
def full_precision():
    with jax.default_matmul_precision("highest"):
        yield


def in_torch(options: dict, params: dict) -> torch.nn.Module:
    model = modeling.build(options)
    state = {name: torch.from_numpy(array) for name, array in names.to_torch(params).items()}
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def run(model: torch.nn.Module, images: np.ndarray, **options):
    return model(torch.from_numpy(images), **options)


@pytest.mark.parametrize("size, name, pixels", CASES)
def test_computes_what_jax_computes(size, name, pixels):
    options = MODELS[name] | SIZES[size]
    graph, params = random_params(options)
    images = draw(1, pixels)
    ours = jax.jit(lambda params, x: nnx.merge(graph, params)(x)[:3])(
        params, np.moveaxis(images, 1, -1)
    )
    theirs = run(in_torch(options, params), images)
    for expected, found in zip(ours, theirs[:3], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_attention_on_request_is_that_of_jax(name):
    options = SMALL | MODELS[name]
    graph, params = random_params(options)
    images = draw(2, (64, 96))
    layers = (0,) if name == "perceiver" else (0, -1)
    ours = nnx.merge(graph, params)(np.moveaxis(images, 1, -1), attention_of=layers).attention
    theirs = run(in_torch(options, params), images, attention_of=layers).attention
    assert ours.keys() == theirs.keys()
    for layer, expected in ours.items():
        np.testing.assert_allclose(theirs[layer], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("offset", [0.1, 0.0])
def test_positions_are_those_of_training_at_any_size(offset):
    options = SMALL | {"architecture": "vit", "position_offset": offset}
    graph, params = random_params(options)
    model = in_torch(options, params)
    for pixels in [(16, 16), (16, 64), (64, 16), (64, 64), (80, 48), (208, 16)]:
        images = draw(1, pixels)
        expected = nnx.merge(graph, params)(np.moveaxis(images, 1, -1)).patches
        found = run(model, images).patches
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE, err_msg=str(pixels))


@pytest.mark.parametrize(
    "others",
    [
        {"layer_scale": True, "gated_mlp": True, "norm_eps": 1e-5, "mlp_ratio": 2.5},
        {"positions": "learned_antialiased", "position_offset": 0.0, "plain_registers": 2},
        {"positions": "rope", "rope_periods": [1.0, 3.0, 10.0, 30.0], "plain_registers": 2},
    ],
    ids=["layer scale, gated", "antialiased", "rope"],
)
def test_the_vits_of_others_are_computed_too(others):
    options = SMALL | {"architecture": "vit"} | others
    graph, params = random_params(options)
    model = in_torch(options, params)
    for pixels in [(64, 64), (48, 96), (32, 16)]:
        images = draw(2, pixels)
        ours = nnx.merge(graph, params)(np.moveaxis(images, 1, -1), attention_of=[1])
        theirs = run(model, images, attention_of=[1])
        for expected, found in zip(
            (*ours[:3], ours[3][1]), (*theirs[:3], theirs[3][1]), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_the_native_size_leaves_positions_as_they_are():
    model = modeling.build(SMALL | {"architecture": "rats"})
    for matrix in model.resampling(4, 4):
        assert torch.equal(matrix, torch.eye(4))


def test_unfused_attention_is_the_same():
    options = SMALL | {"architecture": "rats", "parallel": "separate", "communicate": "learned"}
    model = in_torch(options, random_params(options)[1])
    images = draw(2, (64, 80))
    fused = run(model, images)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        unfused = run(model, images)
    for a, b in zip(fused[:3], unfused[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


def test_each_layer_ends_with_what_forward_returns():
    for architecture in ("rats", "vit", "perceiver"):
        model = modeling.build(SMALL | {"architecture": architecture}).eval()
        images = torch.from_numpy(draw(1, (64, 64)))
        *_, last = model.each_layer(images)
        assert torch.equal(last.patches, model(images).patches)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name):
    model = modeling.build(SMALL | MODELS[name])
    features = model(torch.from_numpy(draw(1, (64, 64))))
    (features.registers.square().sum() + features.patches.square().sum()).backward()
    if name == "vit":  # whose [CLS] is neither
        features = model(torch.from_numpy(draw(1, (64, 64))))
        features.global_vector.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_images_that_are_no_multiple_of_the_patch_are_refused():
    model = modeling.build(SMALL | {"architecture": "rats"})
    with pytest.raises(ValueError, match=r"multiples of the patch \(16\)"):
        model(torch.zeros(1, 3, 70, 64))


@pytest.fixture
def folder(tmp_path):
    options = SMALL | {"architecture": "rats"}
    one_file.write(
        tmp_path, options=options_of(options), params=random_params(options)[1], about={}
    )
    return tmp_path


@pytest.mark.processes
def test_a_copied_folder_loads_with_torch_alone(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(folder, elsewhere)
    code = (
        "import sys, torch, modeling_rats\n"
        "model = modeling_rats.load('.')\n"
        "f = model(torch.zeros(1, 3, 64, 96), attention_of=[-1])\n"
        "print(tuple(f.registers.shape), tuple(f.patches.shape), tuple(f.attention[2].shape))\n"
        "others = {'jax', 'flax', 'rats_jax', 'safetensors', 'transformers', 'torchvision'}\n"
        "print(sorted(others & set(sys.modules)), model.training)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=True
    ).stdout
    assert told == "(1, 48, 48) (1, 24, 48) (1, 3, 16, 24)\n[] False\n"


def test_loading_is_strict(folder):
    config = json.loads((folder / "config.json").read_text())
    config["options"]["depth"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match="blocks.2"):
        modeling.load(folder)


def test_the_file_is_what_the_safetensors_package_reads(folder):
    from safetensors.torch import load_file

    ours, theirs = modeling.read_safetensors(folder / "model.safetensors"), None
    theirs = load_file(folder / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_of_itself_what_its_options_say(name):
    options = options_of(SMALL | MODELS[name])
    model = modeling.build(options.asdict())
    assert model.attending_layers[-1] == options.attended_layer
    assert model.has_cls == options.has_cls


def test_an_unknown_architecture_is_an_error_that_names_those_there_are():
    with pytest.raises(ValueError, match="'cnn': this file has rats, vit, "):
        modeling.build(SMALL | {"architecture": "cnn"})
