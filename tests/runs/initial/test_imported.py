"""`config.model.imported`: options of DINOv2 and DINOv3 in a model that is trained."""

import json

import jax
import numpy as np
import pytest

from rats_jax.assemble import backbone_options, make_dino, make_mesh
from rats_jax.config.imported import imported_text
from rats_jax.dino.optimizer import decays
from rats_jax.errors import UserError
from rats_jax.parallel.rules import state_shardings
from rats_jax.validation import validate
from tests.runs.tiny import tiny_config

DINOV3 = {
    "norm_eps": 1e-5,
    "layer_scale": True,
    "gated_mlp": True,
    "positions": "rope",
    "rope_periods": [1.0, 10.0],
    "mlp_ratio": 2.5,
}


def config_of(imported: object, **fields):
    return tiny_config(model__architecture="vit", model__imported=json.dumps(imported), **fields)


@pytest.mark.parametrize("remat", ["none", "dots"])
def test_a_step_of_training_has_every_option_and_every_array_its_axes(remat):
    config = config_of(DINOV3, model__remat=remat)
    validate(config)
    options = backbone_options(config)
    given = {name: getattr(options, name) for name in DINOV3}
    assert given == DINOV3 | {"rope_periods": (1.0, 10.0)}
    assert json.loads(imported_text(options, "vit")) == DINOV3
    dino = make_dino(config, images=40)
    state = jax.eval_shape(dino.init, 0)
    blocks = state["student"]["backbone"]["blocks"]
    assert blocks["mlp"]["w12"]["kernel"].shape == (2, 24, 120)
    assert "pos_embed" not in state["student"]["backbone"]
    state_shardings(make_mesh(config, jax.devices()[:1]), state)
    crops = {
        name: jax.ShapeDtypeStruct((8, 2, size, size, 3), np.float32)
        for name, size in (("global", 16), ("local", 8))
    }
    after, _ = jax.eval_shape(dino.step, state, crops)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (state, after)]
    assert shapes[0] == shapes[1]
    assert not decays(["blocks", "ls1", "gamma"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config\.model\.imported is no JSON: leave it out"),
        ("[1]", r"config\.model\.imported is no JSON object"),
        ('{"depth": 3}', r"config\.model\.imported has the unknown option 'depth'"),
    ],
)
def test_another_text_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        validate(tiny_config(model__imported=text))


def test_a_rats_has_none_of_them_but_the_fractional_mlp():
    with pytest.raises(UserError, match="has layer_scale, which a rats does not have"):
        validate(tiny_config(model__imported='{"layer_scale": true}'))
    config = tiny_config(model__imported='{"mlp_ratio": 2.5}')
    validate(config)
    assert backbone_options(config).mlp_ratio == 2.5
    assert imported_text(backbone_options(tiny_config()), "rats") == ""
