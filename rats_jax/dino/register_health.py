"""Whether registers are distinct, live and attentive: sums on the devices, figures on the host.

Sums over images add up over batches and meshes, so any number of images may be looked at; what is
kept is [N, N] and [N, D], never an image.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from rats_jax.models import Features

#: Share of a register's energy that changes with the image, below which it is dead.
DEAD = 0.01


def health_sums(features: Features, present: jax.Array) -> dict[str, jax.Array]:
    """Sums over the images that are `present`, [B] bool; float32.

    features: of a batch, with the attention of one layer. Of a ViT's tokens [CLS] alone is judged,
    by its attention as shared out among the patches.

    images: []. attention: [H], the entropy of the attention over the patches, as a share of the
    most it can be (ln L), mean over a head's registers. shared: [], the squared length of the mean
    of an image's patches, each of length 1. Of models with registers: cosines [N, N], registers
    [N, D] and squares [N], of their lengths.
    """
    here = present.astype(jnp.float32)
    (attention,) = features.attention.values()
    if attention.shape[-2] == 1 + features.registers.shape[1]:
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

    heads: that own registers, as many each; 1 where none does.

    registers/distinct: how many distinct registers there are in effect: exp of the entropy of the
        eigenvalues of the registers' mean cosine matrix, over N. N when they are at right angles, 1
        when all point the same way. (Vendi score, arXiv 2210.02410, on registers.)
    registers/dead: as `share_dead`, over all images; a report during training has the same of its
        batch as registers_dead.
    registers/similarity_within_heads, _across_heads: mean cosine of two registers of one head, and
        of two heads; heads/similarity_H of each head.
    registers/attention_entropy: 1 when attention to the patches is spread evenly, 0 when it is on
        one patch; mean over heads, and heads/attention_entropy_H of each.
    patches/shared: how much the patches of an image have in common: 1 when all point the same way,
        0 when they cancel out.
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
    """Those of the figures that `health` gives; heads: as there."""
    sums = {"images": np.ones(()), "attention": np.ones(attention_heads), "shared": np.ones(())}
    if registers:
        sums |= {
            "cosines": np.eye(registers),
            "registers": np.ones((registers, 1)),
            "squares": np.ones(registers),
        }
    return list(health(sums, heads=heads))


def _entropies(attention: jax.Array) -> jax.Array:
    """[..., L] -> [...], in 0..1"""
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
