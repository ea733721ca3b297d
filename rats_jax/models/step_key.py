"""Random keys of a training step."""

from collections.abc import Sequence

import jax


def step_key(state: dict, draw: str, draws: Sequence[str]) -> jax.Array:
    """The key of one kind of draw at the state's step, so that a restart repeats it.

    state: with the key data `rng` of the run's seed, and `step`. draws: all kinds of random draws
    in a step; the position of `draw` among them is folded into the key.
    """
    key = jax.random.wrap_key_data(state["rng"])
    return jax.random.fold_in(jax.random.fold_in(key, state["step"]), draws.index(draw))
