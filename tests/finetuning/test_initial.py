"""What a first start takes from the weights of a backbone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rats_jax import demo_model
from rats_jax.assemble import make_mesh
from rats_jax.backbones import open_backbone
from rats_jax.finetuning.assembly import make_decoder
from rats_jax.finetuning.initial import initial_backbone, open_start
from rats_jax.finetuning.method import FineTuning, schedules_of
from rats_jax.runs.programs import abstract_state
from rats_jax.runs.workdir import load_config
from tests.finetuning.tiny import tiny_finetune, tiny_options, write_weights

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "rats", tiny_options())


def started(tmp_path, **fields):
    """The network, the parameters of a new state, and the lines that are reported."""
    config = tiny_finetune(decoder__name="linear", **fields)
    start = open_start(config, str(tmp_path / "run"))
    schedules = schedules_of(start.config, images=8)
    decoder = make_decoder(start.config, start.options, schedules, classes=4, scales=start.scales)
    mesh = make_mesh(start.config, jax.devices()[:1], heads=start.options.heads)
    method = FineTuning(start.config, decoder, schedules)
    initial = initial_backbone(start, abstract_state(method, 0, mesh))
    state = initial.into(jax.jit(decoder.init, static_argnums=0)(0))
    return decoder.network, state["student"], "\n".join(initial.lines)


def patches(network, params) -> np.ndarray:
    return np.asarray(jax.jit(network.features)(params, PIXELS).patches)


@pytest.mark.parametrize(
    ("parallel", "start", "same"),
    [("none", "copy", True), ("separate", "zero", True), ("separate", "copy", False)],
)
def test_the_network_starts_as_the_weights_say(weights, tmp_path, parallel, start, same):
    fields = {"model__parallel": parallel, "model__parallel_start": start}
    network, params, said = started(tmp_path, model__checkpoint=str(weights), **fields)
    backbone = open_backbone(weights)
    expected = np.asarray(backbone.looking()(jnp.asarray(PIXELS)).patches)
    close = np.abs(patches(network, params) - expected).max() < 1e-4
    assert close == same
    assert "taken: backbone; new: decoder (random)" in said
    assert ("output projection is zero" in said) == (start == "zero")


def test_a_separate_copy_is_the_shared_form_until_it_is_trained(weights, tmp_path):
    both = [
        patches(*started(tmp_path, model__checkpoint=str(weights), model__parallel=form)[:2])
        for form in ("shared", "separate")
    ]
    np.testing.assert_allclose(*both, atol=1e-5)


def test_other_means_of_images_are_in_the_weights(weights, tmp_path):
    """The network normalises by ImageNet's; the weights may be made for others."""
    backbone = open_backbone(weights)._replace(mean=(0.5, 0.4, 0.3), std=(0.5, 0.3, 0.2))
    start = open_start(tiny_finetune(model__checkpoint=str(weights)), str(tmp_path / "run"))
    start = start._replace(backbone=backbone, options=backbone.options)
    config, schedules = start.config, schedules_of(start.config, images=8)
    decoder = make_decoder(config, start.options, schedules, classes=4, scales={})
    method = FineTuning(config, decoder, schedules)
    mesh = make_mesh(config, jax.devices()[:1], heads=3)
    initial = initial_backbone(start, abstract_state(method, 0, mesh))
    params = initial.into(jax.jit(decoder.init, static_argnums=0)(0))["student"]
    expected = np.asarray(backbone.looking()(jnp.asarray(PIXELS)).patches)
    np.testing.assert_allclose(patches(decoder.network, params), expected, atol=1e-4)


def test_random_weights_have_the_scale_that_the_weights_were_trained_from(tmp_path):
    _, params, said = started(tmp_path, model__checkpoint="demo", model__random=True)
    scale = load_config(demo_model.FOLDER).model
    kernel = np.asarray(params["backbone"]["blocks"]["attn"]["qkv"]["kernel"])
    gains = np.array([scale.query_key_gain, scale.query_key_gain, scale.value_gain])
    np.testing.assert_allclose(kernel.std((0, 1, 3, 4)), scale.kernel_std * gains, rtol=0.05)
    assert np.asarray(params["backbone"]["registers"]).std() == pytest.approx(
        scale.register_std, rel=0.1
    )
    assert "its architecture alone" in said
