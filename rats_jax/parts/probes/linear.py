"""A linear layer on frozen patches, trained to predict the classes of their pixels.

After DINOv2 (`BNHead` of its evaluation of segmentation) and DINOv3 (its linear config for ADE20K):
batch normalisation and a linear layer on the last layer's normed patches; AdamW with betas 0.9 and
0.999 and a weight decay of 0.001; batches of 16 images; a linear warmup over 1,500 of 40,000
iterations, then a cosine to 0. Here four things differ:

- Images are not augmented, so the features are computed once. Batch normalisation then uses the
  mean and variance over all training patches.
- The loss compares each patch with the number of its points of each class. This is the mean
  cross-entropy of these points if the logits are enlarged by repetition; the official code enlarges
  bilinearly.
- There is no dropout.
- The bias starts at the logarithm of the share of each class, because few iterations at a low rate
  do not reach it: without this, a linear layer can be right less often than the largest class.

Shape letters: R classifiers, B images, L patches, D width, C classes.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rats_jax.parts.regions import EXACT

BATCH = 16
WEIGHT_DECAY = 1e-3
WARMUP = 1500 / 40_000  # share of the iterations

#: Numbers of images -> their features [B, L, D] and counts of classes [B, L, C].
Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Moments(NamedTuple):
    """Mean and standard deviation of each feature over patches, float32 [D]."""

    mean: np.ndarray
    deviation: np.ndarray


class Layer(NamedTuple):
    """float32 kernel [R, D, C] and bias [R, C]."""

    kernel: jax.Array
    bias: jax.Array


def standardized(patches: jax.Array, moments: Moments) -> jax.Array:
    """Features [..., D] with mean 0 and variance 1; constant features become 0."""
    scale = 1 / jnp.sqrt(jnp.square(moments.deviation) + 1e-5)  # PyTorch's epsilon
    return (patches.astype(jnp.float32) - moments.mean) * scale


@jax.jit
def logits(layer: Layer, moments: Moments, patches: jax.Array) -> jax.Array:
    """[B, L, D] -> [R, B, L, C]"""
    product = jnp.einsum(
        "bld,rdc->rblc", standardized(patches, moments), layer.kernel, precision=EXACT
    )
    return product + layer.bias[:, None, None]


def fit(
    read: Read,
    images: np.ndarray,
    moments: Moments,
    *,
    points: np.ndarray,
    rates: Sequence[float],
    iterations: int,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Layer:
    """Trains a classifier for each learning rate, all on the same batches.

    The order of images depends only on `seed`. images: numbers for `read`. points: of each class in
    these images, [C]. The kernel starts at 0, and the bias at the logarithm of the shares of these
    points. report: called with the number of iterations done.
    """
    layer = _start(len(rates), len(moments.mean), points)
    state = optax.scale_by_adam().init(layer)
    of_rates, last = jnp.asarray(rates, jnp.float32), None
    for number, chosen in enumerate(_batches(images, iterations, seed)):
        scale = np.float32(schedule(number, iterations))
        batch = tuple(map(jnp.asarray, read(chosen)))
        layer, state, loss = _step(layer, state, *batch, moments, scale * of_rates)
        if last is not None:
            last.block_until_ready()  # the host stays at most one step ahead of the device
        last = loss
        if report:
            report(number + 1)
    return layer


def _start(classifiers: int, width: int, points: np.ndarray) -> Layer:
    shares = np.log((points + 1) / (points + 1).sum())  # a class may have no point
    bias = jnp.tile(jnp.asarray(shares, jnp.float32), (classifiers, 1))
    return Layer(jnp.zeros((classifiers, width, len(points))), bias)


def schedule(iteration: int, iterations: int) -> float:
    """The share of the learning rate in an iteration, counted from 0."""
    warmup = max(round(WARMUP * iterations), 1)
    if iteration < warmup:
        return (iteration + 1) / warmup
    return (1 + math.cos(math.pi * (iteration - warmup) / max(iterations - warmup, 1))) / 2


def _batches(images: np.ndarray, iterations: int, seed: int):
    """Random batches; each image once in an epoch. The last images of an epoch begin the next
    batch."""
    size, rng = min(BATCH, len(images)), np.random.default_rng(seed)
    waiting = np.zeros(0, images.dtype)
    for _ in range(iterations):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(images)])
        chosen, waiting = waiting[:size], waiting[size:]
        yield np.sort(chosen)


@partial(jax.jit, donate_argnums=(0, 1))
def _step(
    layer: Layer,
    state: optax.OptState,
    patches: jax.Array,
    counts: jax.Array,
    moments: Moments,
    rates: jax.Array,
) -> tuple[Layer, optax.OptState, jax.Array]:
    """AdamW on the mean cross-entropy of the labelled pixels; also returns its sum over the
    classifiers, before the step. No classifier's loss depends on another's parameters."""

    counts = counts.astype(jnp.float32)

    def loss(layer: Layer) -> jax.Array:
        logs = jax.nn.log_softmax(logits(layer, moments, patches))
        return -(logs * counts).sum() / jnp.maximum(counts.sum(), 1)

    value, gradient = jax.value_and_grad(loss)(layer)
    moved, state = optax.scale_by_adam().update(gradient, state)

    def stepped(parameter: jax.Array, update: jax.Array) -> jax.Array:
        rate = rates.reshape(-1, *(1,) * (parameter.ndim - 1))
        return parameter - rate * (update + WEIGHT_DECAY * parameter)

    return jax.tree.map(stepped, layer, moved), state, value
