"""Linear classifiers of frozen vectors, trained as in official DINO (eval_linear.py): SGD with
momentum 0.9, no weight decay, and a learning rate that follows a cosine from epoch to epoch.

Several classifiers, one for each learning rate, are trained together on the same batches.
Shape letters: R classifiers, B images, D width, C classes.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rats_jax.classification.accuracy import RANKS

MOMENTUM = 0.9
SPREAD = 0.01  # initial standard deviation of the kernel
REFERENCE_BATCH = 256  # learning rates are for this batch size

_EXACT = jax.lax.Precision.HIGHEST


class Classifiers(NamedTuple):
    """float32 kernel [R, D, C] and bias [R, C]."""

    kernel: jax.Array
    bias: jax.Array

    def logits(self, vectors: jax.Array) -> jax.Array:
        """[B, D] -> [R, B, C]"""
        product = jnp.einsum("bd,rdc->rbc", vectors, self.kernel, precision=_EXACT)
        return product + self.bias[:, None]


class Learning(NamedTuple):
    """Classifiers and the momentum of each parameter."""

    classifiers: Classifiers
    momentum: Classifiers


def start(*, classifiers: int, width: int, classes: int, seed: int = 0) -> Learning:
    """The initial state: all classifiers start with the same parameters."""
    kernel = SPREAD * jax.random.normal(jax.random.key(seed), (width, classes), jnp.float32)
    first = Classifiers(
        jnp.tile(kernel, (classifiers, 1, 1)), jnp.zeros((classifiers, classes), jnp.float32)
    )
    return Learning(first, jax.tree.map(jnp.zeros_like, first))


def learn(
    state: Learning, vectors: jax.Array, labels: jax.Array, count: jax.Array, rates: jax.Array
) -> tuple[Learning, jax.Array]:
    """One step; returns the new state and the losses [R] before the step.

    vectors: float32 [B, D]. labels: int [B]. count: the first `count` of them are images, the rest
    is padding. rates: learning rates of this step, float32 [R]. The loss is the mean cross-entropy.
    """
    real = jnp.arange(len(labels)) < count

    def loss(classifiers: Classifiers) -> tuple[jax.Array, jax.Array]:
        logits = classifiers.logits(vectors)
        of_images = optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.broadcast_to(labels, logits.shape[:2])
        )
        losses = jnp.where(real, of_images, 0).sum(1) / count
        return losses.sum(), losses  # no classifier's loss depends on another's parameters

    gradient, losses = jax.grad(loss, has_aux=True)(state.classifiers)
    momentum = jax.tree.map(lambda m, g: MOMENTUM * m + g, state.momentum, gradient)
    moved = jax.tree.map(
        lambda p, m: p - rates.reshape(-1, *(1,) * (p.ndim - 1)) * m, state.classifiers, momentum
    )
    return Learning(moved, momentum), losses


def rates_at(epoch: int, *, epochs: int, rates: Sequence[float], batch: int) -> np.ndarray:
    """Learning rates, float32 [R], of an epoch counted from 0, for batches of `batch` images."""
    share = (1 + math.cos(math.pi * epoch / epochs)) / 2
    return np.array(rates, np.float32) * np.float32(share * batch / REFERENCE_BATCH)


def ranked(classifiers: Classifiers, vectors: jax.Array) -> jax.Array:
    """The five likeliest classes, or all if there are fewer, int32 [R, B, 5]."""
    logits = classifiers.logits(vectors)
    return jax.lax.top_k(logits, min(RANKS, logits.shape[-1]))[1]
