"""DINO's cross-entropy between teacher and student crops, and its center (official `DINOLoss`).

Logits have shape [B, V, G, K]: B images, V crops with the two global ones first, G losses (1, or
one per head), K prototypes. At K = 65,536 they are the largest arrays of a step, so a pair of crops
is a dot product, never an array. The backward pass is written by hand: it stores the student's
logits, one log-partition per row and the teacher's two distributions, nothing else of that size.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class DINOLoss(NamedTuple):
    """The loss, and the two terms whose sum it is: float32 scalars, in nats."""

    loss: jax.Array
    teacher_entropy: jax.Array
    kl: jax.Array


def dino_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    center: jax.Array,
    *,
    student_temperature: float,
    teacher_temperature: jax.Array,
) -> DINOLoss:
    """Mean cross-entropy over the 2V - 2 pairs of (teacher global crop, another student crop).

    student_logits: [B, V, G, K] float32; teacher_logits: [B, 2, G, K] float32, not differentiated;
    center: [G, K] float32, its value before this step.
    """
    logits = (jax.lax.stop_gradient(teacher_logits) - center) / teacher_temperature
    targets = jax.nn.softmax(logits, axis=-1)
    entropy = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.sum(targets * logits, axis=-1))
    loss = paired_cross_entropy(student_logits, targets, student_temperature)
    return DINOLoss(loss, entropy, jax.lax.stop_gradient(loss) - entropy)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def paired_cross_entropy(logits: jax.Array, targets: jax.Array, temperature: float) -> jax.Array:
    """Mean over pairs (i, v != i) of -sum_k targets[i] log softmax(logits[v] / temperature).

    logits [B, V, G, K] and targets [B, 2, G, K], float32 -> scalar. Only logits have a gradient.
    """
    return _forward(logits, targets, temperature)[0]


def _forward(logits, targets, temperature):
    log_partition = jax.nn.logsumexp(logits / temperature, axis=-1)
    dots = jnp.einsum("BVGK,BiGK->BVGi", logits, targets, precision="highest")
    entropies = log_partition[..., None] - dots / temperature
    pairs = _pairs(logits.shape[1])
    scale = pairs.sum() * logits.shape[0] * logits.shape[2]
    loss = jnp.einsum("BVGi,Vi->", entropies, pairs) / scale
    return loss, (logits, targets, log_partition)


def _backward(temperature, saved, gradient):
    logits, targets, log_partition = saved
    pairs = _pairs(logits.shape[1])
    scale = pairs.sum() * logits.shape[0] * logits.shape[2] * temperature
    probabilities = jnp.exp(logits / temperature - log_partition[..., None])
    pull = sum(pairs[:, i, None, None] * targets[:, i, None] for i in range(2))
    push = pairs.sum(1)[:, None, None] * probabilities
    return (push - pull) * (gradient / scale), jnp.zeros_like(targets)


paired_cross_entropy.defvjp(_forward, _backward)


def _pairs(crops: int) -> np.ndarray:
    """[V, 2], 1 where student crop v learns from teacher crop i: everywhere except at v = i."""
    return 1 - np.eye(crops, 2, dtype=np.float32)


def update_center(center: jax.Array, mean_logits: jax.Array, *, momentum: float) -> jax.Array:
    """Moving average [G, K] of the teacher logits, given their mean over images and both crops."""
    return momentum * center + (1 - momentum) * mean_logits
