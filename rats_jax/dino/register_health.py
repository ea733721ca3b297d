"""Whether registers are distinct, live and attentive: sums on the devices, figures on the host.

Sums over images add up over batches and meshes, so any number of images can be evaluated. Only
arrays [N, N] and [N, D] are stored, no images.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.models import Features

#: A register is dead if at most this share of its energy changes with the image.
DEAD = 0.01


def health_sums(features: Features, present: jax.Array, *, has_cls: bool) -> dict[str, jax.Array]:
    """Sums over the images that are `present`, [B] bool; float32.

    features: of a batch, with the attention of one layer. has_cls: of the backbone's options; if
    so, only the attention of [CLS] is used, normalised over the patches.

    images: [], their number. attention: [H], the entropy of the attention over the patches, divided
    by its maximum (ln L), mean over a head's registers. shared: [], the squared length of the mean
    of an image's patches, each scaled to length 1. For models with registers: cosines [N, N],
    registers [N, D], and squares [N], their squared lengths.
    """
    here = present.astype(jnp.float32)
    (attention,) = features.attention.values()
    if has_cls:
        attention = attention[..., :1, :]
    patches = features.patches.astype(jnp.float32)
    lengths = jnp.maximum(jnp.linalg.norm(patches, axis=-1), jnp.finfo(jnp.float32).tiny)
    shared = jnp.sum(jnp.mean(patches / lengths[..., None], axis=1) ** 2, axis=-1)
    sums = {
        "images": here.sum(),
        "attention": here @ _entropies(attention).mean(-1),
        "shared": here @ shared,
    }
    registers = features.registers.astype(jnp.float32)
    if registers.shape[1]:
        squares = jnp.sum(registers**2, axis=-1)
        lengths = jnp.maximum(jnp.sqrt(squares), jnp.finfo(jnp.float32).tiny)
        directions = registers / lengths[..., None] * here[:, None, None]
        sums |= {
            "cosines": jnp.einsum("BND,BMD->NM", directions, directions, precision="highest"),
            "registers": jnp.einsum("B,BND->ND", here, registers, precision="highest"),
            "squares": here @ squares,
        }
    return sums


def health(sums: Mapping[str, np.ndarray], *, heads: int) -> dict[str, float]:
    """Figures from sums over all images.

    heads: the number of heads that own registers (the same number each); 1 if none does.

    registers/distinct: the effective number of distinct registers: exp of the entropy of the
        eigenvalues of the registers' mean cosine matrix divided by N. N when they are orthogonal, 1
        when all have the same direction. (Vendi score, arXiv 2210.02410, applied to registers.)
    registers/dead: `share_dead` over all images; a report during training has the same for its
        batch as registers_dead.
    registers/similarity_within_heads, _across_heads: mean cosine of two registers of the same head,
        and of different heads; heads/similarity_H for each head.
    registers/attention_entropy: 1 when attention to the patches is uniform, 0 when it is on one
        patch; mean over heads, and heads/attention_entropy_H for each head.
    patches/shared: how much the patches of an image have in common: 1 when all have the same
        direction, 0 when they cancel out.
    """
    images = float(sums["images"])
    if not images:
        return {}
    entropies = np.asarray(sums["attention"], np.float64) / images
    figures = {
        "registers/attention_entropy": float(entropies.mean()),
        "patches/shared": float(sums["shared"]) / images,
    }
    figures |= {f"heads/attention_entropy_{h}": float(x) for h, x in enumerate(entropies)}
    if "cosines" not in sums:
        return figures
    cosines = np.asarray(sums["cosines"], np.float64) / images
    mean = np.asarray(sums["registers"], np.float64) / images
    square = np.asarray(sums["squares"], np.float64) / images
    figures["registers/distinct"] = _distinct(cosines)
    variance = square - (mean**2).sum(-1)
    figures["registers/dead"] = float(share_dead(variance, square))
    return figures | _similarities(cosines, heads)


def share_dead(variance: jax.Array | np.ndarray, square: jax.Array | np.ndarray):
    """The share of the registers whose outputs hardly depend on the image: their variance over
    images is at most `DEAD` of their mean square. Both [N], summed over dimensions; -> scalar."""
    return (variance <= DEAD * square).mean()


def names(*, attention_heads: int, registers: int, heads: int) -> list[str]:
    """The names of the figures that `health` returns; heads: as for `health`."""
    sums = {"images": np.ones(()), "attention": np.ones(attention_heads), "shared": np.ones(())}
    if registers:
        sums |= {
            "cosines": np.eye(registers),
            "registers": np.ones((registers, 1)),
            "squares": np.ones(registers),
        }
    return list(health(sums, heads=heads))


def _entropies(attention: jax.Array) -> jax.Array:
    """Entropy over the last axis, divided by its maximum: [..., L] -> [...], in 0..1."""
    shares = attention / jnp.maximum(attention.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    entropies = -jax.scipy.special.xlogy(shares, shares).sum(-1)
    return entropies / jnp.log(jnp.float32(max(attention.shape[-1], 2)))


def _distinct(cosines: np.ndarray) -> float:
    shares = np.clip(np.linalg.eigvalsh(cosines), 0, None)
    shares = shares[shares > 0] / max(shares.sum(), np.finfo(np.float64).tiny)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _similarities(cosines: np.ndarray, heads: int) -> dict[str, float]:
    each = len(cosines) // heads
    blocks = cosines.reshape(heads, each, heads, each).sum((1, 3))
    own = blocks.diagonal() - cosines.diagonal().reshape(heads, each).sum(1)
    figures = {}
    if each > 1:
        within = own / (each * (each - 1))
        figures["registers/similarity_within_heads"] = float(within.mean())
        if heads > 1:
            figures |= {f"heads/similarity_{h}": float(x) for h, x in enumerate(within)}
    if heads > 1:
        across = (blocks.sum() - blocks.trace()) / (each**2 * heads * (heads - 1))
        figures["registers/similarity_across_heads"] = float(across)
    return figures
