"""Initial weights that are given as arrays, instead of a checkpoint."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rats_jax.assemble import backbone_options, make_model
from rats_jax.dino.augment import IMAGENET_MEAN, IMAGENET_STD
from rats_jax.errors import UserError
from rats_jax.runs.initial.reading import Given, side_of


def given_arrays(weights: Mapping, config: ConfigDict) -> Given:
    """The weights as those of a checkpoint; every array must fit.

    weights: {"backbone", "head"} with an optional "center", nested mappings of arrays.

    Raises:
      UserError: the weights do not fit this model, or are not finite.
    """
    parts = _checked(weights, config)
    side = side_of(parts)
    options = backbone_options(config)
    center = parts.get("center")
    return Given(
        "given weights", options, side, side, center, IMAGENET_MEAN, IMAGENET_STD, [], False
    )


def _checked(weights: Mapping, config: ConfigDict) -> dict:
    """The weights in the types of a state."""
    if not isinstance(weights, Mapping) or set(weights) - {"center"} != {"backbone", "head"}:
        raise UserError(
            'the weights to start from must be {"backbone": ..., "head": ...}, with "center" if '
            "it is known"
        )
    given = dict(weights)
    network, init = make_model(config)
    like = jax.eval_shape(init, jax.random.key(0))
    shape = network.losses, config.head.prototypes
    like = {**like, "center": jax.ShapeDtypeStruct(shape, jnp.float32)}
    like = {name: like[name] for name in given}
    if jax.tree.structure(given) != jax.tree.structure(like):
        raise UserError("the weights to start from are of another architecture than config.model")
    pairs = (jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (given, like))
    for (path, x), (_, y) in zip(*pairs, strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if np.shape(x) != y.shape:
            raise UserError(
                f"the weights to start from are of another size than config.model and config.head: "
                f"{name} is {np.shape(x)} there and {y.shape} here"
            )
        if not np.isfinite(np.asarray(x, np.float32)).all():
            raise UserError(f"the weights to start from are not finite in {name}")
    return jax.tree.map(lambda x, y: np.asarray(x, y.dtype), given, like)
