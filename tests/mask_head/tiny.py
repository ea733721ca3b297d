"""Methods and batches small enough for a test."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.mask_head.network import make_linear_network, make_mask_network
from rats_jax.mask_head.options import HeadOptions, LossOptions, OptimizerOptions
from rats_jax.mask_head.step import LinearTraining, MaskTraining, Training
from rats_jax.models import make_backbone

CLASSES, SIDE = 5, 32
PLAIN = OptimizerOptions(clip=0.0, backbone_rate=1.0)
RATS = {"architecture": "rats", "width": 24, "depth": 3, "heads": 3, "registers_per_head": 4}
RATS |= {"patch": 8, "image_size": 32, "parallel": "shared"}
VIT = {"architecture": "vit", "width": 24, "depth": 3, "heads": 3, "plain_registers": 4}
VIT |= {"patch": 8, "image_size": 32}
NORMALISED = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}


def constant(rate: float) -> Callable[[jax.Array], jax.Array]:
    """A learning rate that does not depend on the step."""
    return lambda step: jnp.full_like(step, rate, jnp.float32)


def make_mask_head(
    options: dict = RATS,
    *,
    optimizer: OptimizerOptions = PLAIN,
    accumulation: int = 1,
    rate: float = 1e-2,
    **others,
) -> MaskTraining:
    network, init = make_mask_network(
        lambda rngs: make_backbone(options, **others, rngs=rngs),
        classes=CLASSES,
        **NORMALISED,
        options=HeadOptions(width=16, supervised=2),
    )
    return MaskTraining(
        network=network,
        init_network=init,
        learning_rate=constant(rate),
        losses=LossOptions(points=64),
        optimizer=optimizer,
        accumulation=accumulation,
    )


def make_linear_head(
    options: dict = RATS,
    *,
    optimizer: OptimizerOptions = PLAIN,
    accumulation: int = 1,
    rate: float = 1e-2,
    **others,
) -> LinearTraining:
    network, init = make_linear_network(
        lambda rngs: make_backbone(options, **others, rngs=rngs), classes=CLASSES, **NORMALISED
    )
    return LinearTraining(
        network=network,
        init_network=init,
        learning_rate=constant(rate),
        optimizer=optimizer,
        accumulation=accumulation,
    )


def semantic_batch(images: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """Squares of some classes, each with its own grey; void among them."""
    draw = np.random.default_rng(seed)
    labels = np.kron(draw.integers(-1, CLASSES, (images, 4, 4)), np.ones((8, 8), int))
    noise = draw.integers(0, 20, (images, SIDE, SIDE, 3))
    return {
        "image": (labels[..., None] * 40 + 40 + noise).astype(np.uint8),
        "size": np.full((images, 2), SIDE, np.int32),
        "labels": labels.astype(np.int16),
    }


def instance_batch(images: int = 4, most: int = 6, seed: int = 0) -> dict[str, np.ndarray]:
    """Other numbers of masks in each image; the last image is smaller than the array."""
    draw = np.random.default_rng(seed)
    masks = np.kron(draw.random((images, most, 4, 4)) < 0.4, np.ones((8, 8), bool))
    counts = draw.permutation(np.arange(images) % (most + 1))[:, None]
    categories = draw.integers(0, CLASSES, (images, most))
    size = np.full((images, 2), SIDE, np.int32)
    size[-1] = 24, 17
    return {
        "image": draw.integers(0, 256, (images, SIDE, SIDE, 3), np.uint8),
        "size": size,
        "masks": np.packbits(masks, axis=-1),
        "categories": np.where(np.arange(most) < counts, categories, -1).astype(np.int16),
    }


def train(method: Training, batch: dict, steps: int) -> tuple[dict, list[dict]]:
    """The state after some steps on one batch, and their metrics."""
    state = jax.jit(method.init, static_argnums=0)(0)
    step, history = jax.jit(method.step), []
    for _ in range(steps):
        state, metrics = step(state, batch)
        history.append(jax.device_get(metrics))
    return state, history
