"""Which arrays of the forward pass are stored for the backward pass; the rest is recomputed.

Under a scan, an array that is stored for one block is stored for every block. These arrays are most
of a training step's memory.
"""

from collections.abc import Callable

import jax
from jax.ad_checkpoint import checkpoint_name

_SAVED = "saved"

#: By the name in `config.model.remat`. "dots" stores the most expensive products, marked by
#: `save_for_backward`.
POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.save_only_these_names(_SAVED),
    "full": jax.checkpoint_policies.nothing_saveable,
}


def save_for_backward(x: jax.Array) -> jax.Array:
    """x, marked to be stored, because recomputing it costs too much.

    Its last axis should be a multiple of 128, the lanes of a TPU, because a TPU pads it to that:
    use [B, T, D] rather than [B, T, H, d].
    """
    return checkpoint_name(x, _SAVED)


def rematerialize(function: Callable, policy: Callable | None = None) -> Callable:
    """The function, which stores only its arguments and what the policy names."""
    # A scan already rules out what prevent_cse guards against, and prevent_cse has a cost.
    return jax.checkpoint(function, policy=policy, prevent_cse=False)
