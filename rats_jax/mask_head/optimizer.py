"""AdamW as torch's, with a learning rate for each layer and a limit of the whole gradient.

Weight decay does not apply to biases, LayerNorm, LayerScale, positions, [CLS] and registers (also
latents and queries of a Perceiver). Parameters are the tree {"backbone": ..., "decoder": ...};
arrays under `backbone/blocks` are stacks of one tensor per layer.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from rats_jax.mask_head.options import OptimizerOptions

ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
#: Last names of the parameters without weight decay.
NOT_DECAYED = tuple("bias scale gamma pos_embed cls_token registers latents queries".split())


def update_parameters(
    params: dict,
    gradients: dict,
    state: optax.OptState,
    *,
    norm: jax.Array,
    learning_rate: jax.Array,
    depth: int,
    options: OptimizerOptions,
) -> tuple[dict, optax.OptState]:
    """One step; returns new parameters and state. norm: that of all gradients together."""
    if options.clip:
        gradients = jax.tree.map(
            lambda x: x * jnp.minimum(1, options.clip / (norm + 1e-6)), gradients
        )
    directions, state = ADAM.update(gradients, state)

    def moved(path, param: jax.Array, direction: jax.Array) -> jax.Array:
        names = [str(key.key) for key in path]
        factor = rate_factor(names, depth=depth, options=options)
        if isinstance(factor, jax.Array):
            factor = factor.reshape(-1, *[1] * (param.ndim - 1))
        decay = options.weight_decay if decays(names) else 0.0
        return param - factor * learning_rate * (direction + decay * param)

    return jax.tree_util.tree_map_with_path(moved, params, directions), state


def decays(names: Sequence[str]) -> bool:
    """Whether weight decay applies to the parameter at this path."""
    return names[-1] not in NOT_DECAYED


def rate_factor(
    names: Sequence[str], *, depth: int, options: OptimizerOptions
) -> float | jax.Array:
    """The factor on the learning rate of the parameter at a path, [depth] for a stack of blocks.

    As in BEiT: block i has decay^(depth - i), all that comes before block 0 has decay^(depth + 1),
    the final norm and the decoder have 1. The backbone has `backbone_rate` as well.
    """
    if names[0] != "backbone":
        return 1.0
    rate, decay = options.backbone_rate, options.layer_decay
    if decay == 1 or names[1] == "norm":
        return rate
    if names[1] == "blocks":
        return rate * decay ** jnp.arange(depth, 0, -1)
    return rate * decay ** (depth + 1)
