"""A dictionary of parts that is learned with the backbone, without masks (paper, section 4.4).

Each register r of the student's global crops goes to its nearest entry e. With sg for a value that
is not differentiated, and H for the entropy, the loss is that of DINO plus

    weight * mean(|sg(r) - e|^2 + beta * |r - sg(e)|^2)
    - diversity * H(mean(softmax over entries of -|r - e_k|^2 / temperature))

Both means are over all registers of the batch, and registers are scaled to length 1, so no term
depends on the width, the length of registers, or their number. Entries are not scaled: the nearest
entry is that of K-means on unit vectors, and the entry that minimises the first term is the mean of
its registers, as in K-means. So entries are compared with registers that are scaled to length 1.

Distances are products in the compute dtype with float32 sums, like the prototypes of the head; the
squared distance to the nearest entry is float32. The distances of all registers would be an array
[B, N, E]. It is computed for some of the N registers at a time, and again in the backward pass, so
that it is never larger than LARGEST numbers per image.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rats_jax.models.axes import BATCH, FSDP, TENSOR, constrain
from rats_jax.models.dino_head import scaled_matmul
from rats_jax.models.linear import gather_kernel

#: Numbers per image in the largest array of distances: 4 MiB in float32. The logits of 12 crops
#: have 0.8 million at K = 65,536.
LARGEST = 2**20
#: The length of entries at the start. Short ones are about as far from any register, so that few
#: are dead from the start: see docs/dictionary.md.
START = 0.1
TINY = jnp.finfo(jnp.float32).tiny


@dataclass(frozen=True, kw_only=True)
class Codebook:
    """The settings of the loss; see the module."""

    weight: float
    beta: float
    diversity: float
    temperature: float


class Assigned(NamedTuple):
    """Means over registers, so means over parts of a batch are those of the batch.

    error: |r - e|^2 of the nearest entry, a scalar. nearest: [E], the share of registers that each
    entry is the nearest of. soft: [E], the mean of the softmax.
    """

    error: jax.Array
    nearest: jax.Array
    soft: jax.Array


def init_entries(key: jax.Array, entries: int, width: int) -> jax.Array:
    """Random entries [E, D] at the start: normal, of length START."""
    return START * width**-0.5 * jax.random.normal(key, (entries, width))


def codebook_loss(
    registers: jax.Array, entries: jax.Array, settings: Codebook, *, mean: jax.Array | None = None
) -> tuple[jax.Array, Assigned]:
    """The terms that are added to DINO's loss, and how registers were assigned.

    registers: [B, N, D] of any dtype and length. entries: float32 [E, D]. mean: `Assigned.soft` of
    the whole batch, if these registers are a part of it.

    The entropy of a mean is not a mean over parts, but this is: - sum(soft of the part * log(mean
    of the batch)). Over all parts, its mean is the entropy of the batch, and its gradient is that
    of this entropy, since the entries of `soft` always add up to 1.
    """
    assigned, to_entries, to_registers = _assign(registers, entries, settings.temperature)
    weights = jax.lax.stop_gradient(assigned.soft if mean is None else mean)
    entropy = -jnp.sum(assigned.soft * jnp.log(jnp.maximum(weights, TINY)))
    quantization = to_entries + settings.beta * to_registers
    loss = settings.weight * quantization - settings.diversity * entropy
    return loss, jax.lax.stop_gradient(assigned)


def assign(registers: jax.Array, entries: jax.Array, *, temperature: float) -> Assigned:
    """How registers [B, N, D] are assigned to entries [E, D]."""
    return _assign(registers, entries, temperature)[0]


def statistics(assigned: Assigned) -> dict[str, jax.Array]:
    """Scalars of the registers of a batch.

    dictionary_loss: mean squared distance to the nearest entry. dictionary_entropy: of the mean
    softmax, in nats; at most ln E. dictionary_usage: exp of the entropy of the shares of the
    entries, divided by E: 1 if all are used equally, 1 / E if all registers have the same.
    dictionary_used: share of the entries that are the nearest of a register.
    """
    entries = len(assigned.nearest)
    return {
        "dictionary_loss": assigned.error,
        "dictionary_entropy": _entropy(assigned.soft),
        "dictionary_usage": jnp.exp(_entropy(assigned.nearest)) / entries,
        "dictionary_used": jnp.mean(assigned.nearest > 0),
    }


def at_a_time(registers: int, entries: int) -> int:
    """Of how many registers of each image the distances are computed at a time: a divisor."""
    divisors = (n for n in range(registers, 0, -1) if registers % n == 0)
    return next((n for n in divisors if n * entries <= LARGEST), 1)


def _assign(
    registers: jax.Array, entries: jax.Array, temperature: float
) -> tuple[Assigned, jax.Array, jax.Array]:
    """`Assigned`, and the mean of |sg(r) - e|^2 and of |r - sg(e)|^2: the same number, with other
    gradients."""
    batch, count, width = registers.shape
    chunk = at_a_time(count, len(entries))
    chunks = registers.reshape(batch, count // chunk, chunk, width).swapaxes(0, 1)
    chunks = constrain(chunks, None, BATCH, None, None)
    of_chunk = jax.checkpoint(partial(_sums, temperature=temperature))
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(of_chunk, chunks[0], entries)
    )

    def add(total, chunk):
        return jax.tree.map(jnp.add, total, of_chunk(chunk, entries)), None

    total, _ = jax.lax.scan(add, zeros, chunks)
    (assigned, *errors) = jax.tree.map(lambda x: x / (batch * count), total)
    return assigned, *errors


def _sums(registers: jax.Array, entries: jax.Array, *, temperature: float):
    """As `_assign` of registers [B, n, D], but sums."""
    fixed, unit = jax.lax.stop_gradient, _unit(registers.astype(jnp.float32))
    # -|r - e|^2 without |r|^2, which is the same for all entries: [B, n, E].
    scale = jnp.full(len(entries), 2.0)
    closeness = scaled_matmul(unit.astype(registers.dtype), entries.T, scale)
    closeness = constrain(closeness - jnp.sum(entries**2, axis=1), BATCH, None, TENSOR)
    nearest = jnp.argmax(fixed(closeness), axis=-1)
    chosen = _take(entries, nearest)
    to_entries = jnp.sum((fixed(unit) - chosen) ** 2)
    to_registers = jnp.sum((unit - fixed(chosen)) ** 2)
    soft = jax.nn.softmax(closeness / temperature, axis=-1).sum((0, 1))
    shares = _one_hot(nearest, len(entries)).sum((0, 1))
    return Assigned(fixed(to_entries), shares, soft), to_entries, to_registers


@jax.custom_vjp
def _take(entries: jax.Array, nearest: jax.Array) -> jax.Array:
    """entries[nearest]. The gradient is a product, which sums in the same order each time and
    leaves each part of the entries on its device; JAX's own adds one row after the other."""
    return gather_kernel(entries, entries.dtype, (TENSOR, FSDP))[nearest]


def _take_forward(entries, nearest):
    return _take(entries, nearest), (nearest, len(entries))


def _take_backward(saved, gradient):
    nearest, count = saved
    to_entries = jnp.einsum("BNE,BND->ED", _one_hot(nearest, count), gradient)
    return constrain(to_entries, TENSOR, FSDP), None


_take.defvjp(_take_forward, _take_backward)


def _one_hot(nearest: jax.Array, count: int) -> jax.Array:
    return constrain(jax.nn.one_hot(nearest, count), BATCH, None, TENSOR)


def _unit(vectors: jax.Array) -> jax.Array:
    """Scaled to length 1. Vectors shorter than 1e-12 become 0, and have no gradient."""
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    directed = square >= 1e-24
    return vectors * jnp.where(directed, jax.lax.rsqrt(jnp.where(directed, square, 1)), 0)


def _entropy(shares: jax.Array) -> jax.Array:
    return -jnp.sum(jax.scipy.special.xlogy(shares, shares))
