"""Vital signs of the teacher: whether its outputs still depend on the image, and its registers on
each other not.

Plain sums over a batch, which any mesh computes where the batch lies: no eigenvalues, nothing whose
size is the batch squared.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from rats_jax.dino.network import Network
from rats_jax.dino.register_health import share_dead

#: Mean cosine, over images, from which two registers are copies of each other.
COPY = 0.98


def vital_signs(
    network: Network,
    state: dict,
    crops: dict[str, jax.Array],
    *,
    teacher_temperature: jax.Array,
) -> dict[str, jax.Array]:
    """Scalars, float32, of the teacher on the global crops of a batch.

    crops: {"global": [B, 2, h, w, 3]}, normalised, as they were cut out, without photometrics: 2B
    samples. With one loss per head the first four are means over heads.

    prototype_usage: exp of the entropy of the samples' mean target, over K: 1 when all prototypes
        are used alike, 1 / K when all samples have the same one. With one prototype each, 2B
        samples cannot use more than 2B / K.
    target_information: nats that a target tells of its sample, the entropy of the mean target less
        the mean entropy: 0 when all samples have the same target, ln 2B at most.
    feature_std: standard deviation over samples of the global vector of length 1, times sqrt D,
        mean over dimensions: 1 when directions are spread evenly, 0 when all are the same. (The
        collapse level of SimSiam, arXiv 2011.10566, section 4.1.)
    effective_rank: participation ratio (tr C)^2 / tr C^2 of the global vectors' covariance C: d
        when they vary alike in d dimensions and in no other. Stands for RankMe (arXiv 2210.02885),
        which takes singular values: slow on a TPU, and whole on one device.
    student_distance: norm of student less teacher, all parameters, over the teacher's: 0 when they
        are one.

    Of models with registers alone:

    register_copies: share of the registers that have a copy, another register whose cosine with
        them is over `COPY`, mean over samples.
    registers_dead: as `register_health.share_dead`, over the samples of the batch; an evaluation
        has the same of its images as registers/dead.
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
    """Prototype usage and target information of logits [..., G, K], centered, over the temperature;
    samples are all axes before."""
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
    """Of length 1; zero stays zero."""
    norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)
