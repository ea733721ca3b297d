"""What of the forward pass is kept for the backward pass; the rest is computed again.

Under a scan, an array that is kept of a block is kept of every block: these are most of a training
step's memory.
"""

from collections.abc import Callable

import jax
from jax.ad_checkpoint import checkpoint_name

_SAVED = "saved"

#: By the name of `config.model.remat`. "dots" keeps the products that cost most, marked by
#: `save_for_backward`.
POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.save_only_these_names(_SAVED),
    "full": jax.checkpoint_policies.nothing_saveable,
}


def save_for_backward(x: jax.Array) -> jax.Array:
    """x, marked to be stored, since computing it again costs too much.

    Its last axis had better be a multiple of 128, the lanes of a TPU, where a shorter one is padded
    to it: [B, T, D] rather than [B, T, H, d].
    """
    return checkpoint_name(x, _SAVED)


def rematerialize(function: Callable, policy: Callable | None = None) -> Callable:
    """The function, which keeps its arguments (and what the policy names) and nothing else."""
    # prevent_cse guards against what a scan rules out already, and would cost.
    return jax.checkpoint(function, policy=policy, prevent_cse=False)
