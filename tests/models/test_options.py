"""What options say of a backbone is what the backbone does; and an unknown one is an error."""

import inspect
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rats_jax.assemble import backbone_options, make_model
from rats_jax.config import default_config
from rats_jax.errors import UserError
from rats_jax.models import ARCHITECTURES, RATS, SIZES, make_backbone, options_of
from rats_jax.models.flops import LAYERS, forward_macs
from rats_jax.models.options import OPTIONS, RATSOptions, ViTOptions

SMALL = {"width": 12, "depth": 3, "heads": 3, "patch": 8, "image_size": 32}
MODELS = {
    "rats": {"architecture": "rats", "registers_per_head": 2},
    "shared": {"architecture": "rats", "registers_per_head": 2, "sharing": "shared"},
    "vit": {"architecture": "vit"},
    "vit with registers": {"architecture": "vit", "plain_registers": 4},
    "perceiver": {"architecture": "perceiver", "latents": 5, "queries": 6},
}


def features(given: dict):
    """Of two images, abstract, with all that can be asked for."""
    options = options_of(given)

    def run(images):
        module = make_backbone(options, rngs=nnx.Rngs(0))
        watched = (options.attended_layer,)
        return module(images, attention_of=watched, layers_of=range(options.depth))

    return jax.eval_shape(run, jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32))


def test_the_tables_of_architectures_have_the_same():
    assert list(ARCHITECTURES) == list(OPTIONS) == list(LAYERS)
    assert all(kind.architecture == name for name, kind in OPTIONS.items())


@pytest.mark.parametrize("name", OPTIONS)
def test_the_defaults_are_those_of_the_module(name):
    arguments = inspect.signature(ARCHITECTURES[name].__init__).parameters
    options = OPTIONS[name](width=12, depth=3, heads=3)
    for option, value in options.arguments().items():
        default = arguments[option].default
        assert option in SMALL or default == value, option
    training = arguments.keys() - {"self", "dtype", "rngs"} - options.arguments().keys()
    assert training == set(options.training)


@pytest.mark.parametrize("name", MODELS)
def test_registers_are_as_many_as_the_backbone_returns(name):
    given = SMALL | MODELS[name]
    options, found = options_of(given), features(given)
    assert found.registers.shape == (2, options.registers, 12)
    in_layers = {layer.raw.registers.shape[1] for layer in found.layers.values()}
    assert (in_layers == {options.registers}) == options.registers_in_every_layer
    assert options.patches(32) == found.patches.shape[1] == 16


@pytest.mark.parametrize(
    "name, owning, layer, tokens",
    [
        ("rats", 3, 2, 16 + 6),
        ("shared", 0, 2, 16 + 6),
        ("vit", 0, 2, 16 + 1),
        ("vit with registers", 0, 2, 16 + 1 + 4),
        ("perceiver", 0, 0, 5),
    ],
)
def test_heads_layer_and_tokens(name, owning, layer, tokens):
    options = options_of(SMALL | MODELS[name])
    assert (options.owning_heads, options.attended_layer) == (owning, layer)
    assert options.layer_tokens(32) == tokens
    is_rats = MODELS[name]["architecture"] == "rats"
    assert (options.has_cls, options.registers_by_head) == ("vit" in name, is_rats)
    assert options.trained_size == 32


def test_rotary_positions_do_not_say_the_size_of_training():
    assert ViTOptions(width=12, depth=1, heads=1, positions="rope").trained_size is None


@pytest.mark.parametrize(
    "architecture, own",
    [
        (
            "rats",
            '"registers_per_head": 16, "communicate": "parameter_free", '
            '"sharing": "partitioned", "parallel": "none"',
        ),
        ("vit", '"plain_registers": 0'),
        ("perceiver", '"latents": 80, "queries": 96'),
    ],
)
def test_those_of_a_config_are_written_as_ever(architecture, own):
    """To the letter: checkpoints and exports hold them."""
    config = default_config()
    config.model.architecture = architecture
    assert json.dumps(backbone_options(config).asdict()) == (
        f'{{"architecture": "{architecture}", "width": 384, "depth": 12, "heads": 6, "patch": 16, '
        f'"mlp_ratio": 4, "position_offset": 0.1, {own}, "image_size": 224}}'
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_a_config_without_an_option_makes_no_model(name):
    config = default_config()
    config.model.architecture = name
    with config.unlocked():
        del config.model[OPTIONS[name].config_fields()[-1]]
    with pytest.raises(KeyError):
        backbone_options(config)


@pytest.mark.parametrize(
    "given",
    [
        *({"architecture": "rats", "image_size": 32} | SMALL | more for more in MODELS.values()),
        {"norm_eps": 1e-12, "architecture": "vit", **SMALL, "rope_periods": [1.0, 2.0]},
    ],
)
def test_a_dict_is_the_same_after_reading_it(given):
    options = options_of(given)
    assert options.asdict() == given and options_of(options) is options
    assert list(options.asdict()) == ["architecture", *(x for x in given if x != "architecture")]
    assert options_of(options.asdict()) == options and hash(options)


def test_what_was_changed_is_written_though_it_was_not_before():
    options = options_of({"architecture": "vit", **SMALL})
    assert "norm_eps" not in options.asdict()
    assert replace(options, norm_eps=1e-3).asdict() == options.asdict() | {"norm_eps": 1e-3}
    assert replace(options, width=24).asdict() == options.asdict() | {"width": 24}


def test_options_that_were_not_read_are_written_whole():
    options = RATSOptions(**SIZES["S"])
    assert options.asdict() == {"architecture": "rats"} | options.arguments()


def test_a_backbone_is_made_of_options_of_a_dict_and_of_arguments():
    given = SMALL | MODELS["rats"]
    arguments = {name: value for name, value in given.items() if name != "architecture"}
    shapes = [
        jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(nnx.eval_shape(make))))
        for make in (
            lambda: make_backbone(given, rngs=nnx.Rngs(0)),
            lambda: make_backbone(options_of(given), rngs=nnx.Rngs(0)),
            lambda: RATS(**arguments, rngs=nnx.Rngs(0)),
        )
    ]
    assert shapes[0] == shapes[1] == shapes[2]


UNKNOWN = f"unknown architecture 'cnn': choose one of {', '.join(OPTIONS)}"


@pytest.mark.parametrize(
    "use",
    [
        lambda config: backbone_options(config),
        lambda config: make_model(config),
        lambda config: make_backbone({"architecture": "cnn", **SMALL}, rngs=nnx.Rngs(0)),
        lambda config: forward_macs(options_of({"architecture": "cnn", **SMALL}), pixels=32),
    ],
)
def test_an_unknown_architecture_is_one_error(use):
    config = default_config()
    config.model.architecture = "cnn"
    with pytest.raises(UserError, match=f"^{UNKNOWN}$"):
        use(config)


@pytest.mark.parametrize("name", [None, ["rats"], 3, "x" * 999])
def test_so_is_what_is_no_name(name):
    with pytest.raises(UserError, match="unknown architecture .{1,90}: choose one of"):
        options_of({"architecture": name, **SMALL})


def test_an_option_of_another_architecture_is_an_error():
    with pytest.raises(TypeError, match="latents"):
        options_of({"architecture": "vit", **SMALL, "latents": 3})
