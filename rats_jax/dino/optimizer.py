"""AdamW with the semantics of the official DINO training loop.

Clipping is by tensor (`clip_gradients`). Weight decay does not apply to biases and LayerNorm
(`get_params_groups`). While the last layer is frozen it has no gradient at all
(`cancel_gradients_last_layer`): no decay, no moments, and its Adam count starts when the freeze
ends.

Parameters are the tree {"backbone": ..., "head": {..., "last_layer": ...}}, and "dictionary" if one
is learned; arrays under `blocks` are stacks of one tensor per layer.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


class TakenRate(NamedTuple):
    """The learning rate of the parameters that were taken from given weights.

    paths: starts of their paths, such as "backbone/blocks". factor: on the learning rate, and so on
    weight decay; 0 freezes them. steps: how long the factor holds; 0 for the whole run.
    """

    paths: tuple[str, ...] = ()
    factor: float = 1.0
    steps: int = 0

    def factors(self, step: jax.Array) -> Callable[[Sequence[str]], jax.Array | float | None]:
        """The function from the path of a parameter to its factor at a step, or to None for the
        plain learning rate."""

        def factor_of(names: Sequence[str]) -> jax.Array | float | None:
            path = "/".join(names) + "/"
            if self.factor == 1 or not any(path.startswith(f"{start}/") for start in self.paths):
                return None
            return jnp.where(step < self.steps, self.factor, 1.0) if self.steps else self.factor

        return factor_of


def init_optimizer(params: dict) -> dict:
    """Moments, float32, in two Adam states: one for the last layer, one for all the rest."""
    rest, last_layer = split_last_layer(params)
    return {"rest": ADAM.init(rest), "last_layer": ADAM.init(last_layer)}


def update_parameters(
    params: dict,
    gradients: dict,
    state: dict,
    *,
    clip: float,
    learning_rate: jax.Array,
    weight_decay: jax.Array,
    last_layer_frozen: jax.Array,
    factor_of: Callable[[Sequence[str]], jax.Array | float | None] = lambda names: None,
) -> tuple[dict, dict]:
    """One step; returns new parameters and state.

    clip: maximum norm of a tensor; 0 for none. factor_of: factor on the learning rate of the
    parameter at a path; see `TakenRate.factors`.
    """
    if clip:
        gradients = clip_by_tensor(gradients, clip)
    rest, last_layer = split_last_layer(gradients)
    rest, rest_state = ADAM.update(rest, state["rest"])
    last_layer, last_state = ADAM.update(last_layer, state["last_layer"])
    last_state = optax.tree.where(last_layer_frozen, state["last_layer"], last_state)
    directions = {**rest, "head": {**rest["head"], "last_layer": last_layer}}

    def step(path, param, direction):
        names = [key.key for key in path]
        factor = factor_of(names)
        rate = learning_rate if factor is None else factor * learning_rate
        moved = param - rate * (direction + weight_decay * decays(names) * param)
        return jnp.where(last_layer_frozen, param, moved) if "last_layer" in names else moved

    params = jax.tree_util.tree_map_with_path(step, params, directions)
    return params, {"rest": rest_state, "last_layer": last_state}


def decays(names: list[str]) -> bool:
    """Whether weight decay applies to the parameter at this path: not to biases, LayerNorm,
    LayerScale and the entries of a learned dictionary."""
    return names[-1] not in ("bias", "scale", "gamma", "entries")


def clip_by_tensor(gradients: dict, clip: float) -> dict:
    """Scales each tensor whose norm is above `clip` down to it; layers of a stack separately."""

    def clipped(path, gradient):
        stacked = "blocks" in [key.key for key in path]
        axes = tuple(range(1 if stacked else 0, gradient.ndim))
        norm = jnp.sqrt(jnp.sum(gradient**2, axis=axes, keepdims=True))
        return gradient * jnp.minimum(1, clip / (norm + 1e-6))

    return jax.tree_util.tree_map_with_path(clipped, gradients)


def split_last_layer(params: dict) -> tuple[dict, dict]:
    """(everything but the last layer, the last layer)."""
    head = dict(params["head"])
    last_layer = head.pop("last_layer")
    return {**params, "head": head}, last_layer
