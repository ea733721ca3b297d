"""Vital signs of the teacher: whether its outputs still depend on the image, and its registers do
not depend on each other.

These are plain sums over a batch, which any mesh computes where the batch is stored: no
eigenvalues, and no array whose size is the batch squared.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from rats_jax.dino.network import Network
from rats_jax.dino.register_health import share_dead

#: Two registers are copies of each other if their mean cosine over images is above this.
COPY = 0.98


def vital_signs(
    network: Network,
    state: dict,
    crops: dict[str, jax.Array],
    *,
    teacher_temperature: jax.Array,
) -> dict[str, jax.Array]:
    """Scalars, float32, of the teacher on the global crops of a batch.

    crops: {"global": [B, 2, h, w, 3]}, normalised, without photometrics: 2B samples. With one loss
    per head the first four are means over heads.

    prototype_usage: exp of the entropy of the samples' mean target, divided by K: 1 when all
        prototypes are used equally, 1 / K when all samples use the same one. If each sample uses
        one prototype, 2B samples can use at most 2B / K.
    target_information: information that a target has about its sample, in nats: the entropy of the
        mean target minus the mean entropy. 0 when all samples have the same target, at most ln 2B.
    feature_std: standard deviation over samples of the global vector scaled to length 1, times
        sqrt D, mean over dimensions: 1 when directions are spread evenly, 0 when all are the same.
        (The collapse level of SimSiam, arXiv 2011.10566, section 4.1.)
    effective_rank: participation ratio (tr C)^2 / tr C^2 of the global vectors' covariance C: d
        when they vary equally in d dimensions and not in others. It replaces RankMe (arXiv
        2210.02885), whose singular values are slow on a TPU and computed on a single device.
    student_distance: norm of student minus teacher over all parameters, divided by the norm of the
        teacher: 0 when they are equal.

    Only for models with registers:

    register_copies: share of the registers that have a copy: another register whose cosine with
        them, mean over samples, is above `COPY`.
    registers_dead: `register_health.share_dead` over the samples of the batch; an evaluation
        reports the same for its images as registers/dead.
    """
    images = crops["global"]
    teacher = state["teacher"]
    features = network.features(teacher, images.reshape(-1, *images.shape[2:]))
    vectors = network.global_vectors(features)
    by_image = vectors.reshape(*images.shape[:2], *vectors.shape[1:])
    logits = nnx.merge(network.head, teacher["head"])(by_image)
    usage, information = targets((logits - state["center"]) / teacher_temperature)
    between = jax.tree.map(jnp.subtract, state["student"], teacher)
    signs = {
        "prototype_usage": usage,
        "target_information": information,
        "student_distance": optax.tree.norm(between) / optax.tree.norm(teacher),
        "feature_std": feature_std(vectors),
        "effective_rank": effective_rank(vectors),
    }
    if features.registers.shape[1]:
        signs["register_copies"] = register_copies(features.registers)
        signs["registers_dead"] = registers_dead(features.registers)
    return signs


def targets(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Prototype usage and target information of logits [..., G, K] that are centered and divided by
    the temperature; the leading axes are samples."""
    samples = range(logits.ndim - 2)
    log_target = jax.nn.log_softmax(logits, axis=-1)
    target = jnp.exp(log_target)
    entropy = -jnp.sum(target * log_target, axis=-1).mean(samples)
    mean = target.mean(samples)
    entropy_of_mean = -jnp.sum(jax.scipy.special.xlogy(mean, mean), axis=-1)
    usage = jnp.mean(jnp.exp(entropy_of_mean)) / logits.shape[-1]
    return usage, jnp.mean(entropy_of_mean - entropy)


def feature_std(vectors: jax.Array) -> jax.Array:
    """[S, G, D] -> scalar"""
    vectors = vectors.astype(jnp.float32)
    directions = _directions(vectors)
    return jnp.mean(jnp.std(directions, axis=0)) * vectors.shape[-1] ** 0.5


def effective_rank(vectors: jax.Array) -> jax.Array:
    """[S, G, D] -> scalar"""
    vectors = vectors.astype(jnp.float32)
    x = vectors - vectors.mean(0)
    covariance = jnp.einsum("SGD,SGE->GDE", x, x, precision="highest")
    square = jnp.sum(covariance**2, axis=(1, 2))
    trace = jnp.trace(covariance, axis1=1, axis2=2)
    return jnp.mean(trace**2 / jnp.maximum(square, jnp.finfo(jnp.float32).tiny))


def register_copies(registers: jax.Array) -> jax.Array:
    """[S, N, D] -> scalar"""
    registers = registers.astype(jnp.float32)
    directions = _directions(registers)
    cosines = jnp.einsum("SND,SMD->NM", directions, directions, precision="highest")
    others = cosines / len(registers) - 2 * jnp.eye(len(cosines))
    return jnp.mean(others.max(1) > COPY)


def registers_dead(registers: jax.Array) -> jax.Array:
    """[S, N, D] -> scalar"""
    registers = registers.astype(jnp.float32)
    variance = jnp.var(registers, axis=0).sum(-1)
    return share_dead(variance, jnp.mean(registers**2, axis=0).sum(-1))


def _directions(vectors: jax.Array) -> jax.Array:
    """The vectors scaled to length 1; zero stays zero."""
    norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)
