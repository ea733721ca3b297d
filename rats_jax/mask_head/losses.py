"""The losses of mask classification, as in Mask2Former, and of label maps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rats_jax.mask_head.head import Masks, mask_logits
from rats_jax.mask_head.matching import match, matching_costs
from rats_jax.mask_head.options import LossOptions
from rats_jax.mask_head.points import Drawn, most_uncertain, sample, take_rows
from rats_jax.mask_head.targets import VOID, AtPoints, Targets, at_points
from rats_jax.models.remat import rematerialize


class Totals(NamedTuple):
    """What losses are divided by, float32 scalars: the masks, and the sum of the weights of all
    queries in the class loss."""

    masks: jax.Array
    weights: jax.Array


def totals_of(targets: Targets, *, queries: int, options: LossOptions) -> Totals:
    """Of a whole batch. They are known before queries are matched."""
    masks = targets.present.sum(1)
    matched = jnp.minimum(masks, queries).sum()
    weights = matched + options.no_object * (queries * len(masks) - matched)
    # Without masks and with no_object 0, nothing is learned: the loss is 0, not 0 / 0.
    weights = jnp.where(weights > 0, weights, 1)
    return Totals(jnp.maximum(masks.sum(), 1).astype(jnp.float32), weights)


class Losses(NamedTuple):
    """Of one layer, not weighted. class_accuracy: the share of masks whose query has the right
    class."""

    class_loss: jax.Array
    mask_loss: jax.Array
    dice_loss: jax.Array
    class_accuracy: jax.Array


def losses_of_layers(
    outputs: Masks,
    batch: dict[str, jax.Array],
    targets: Targets,
    drawn: Drawn,
    totals: Totals,
    options: LossOptions,
) -> Losses:
    """The losses of outputs [B, layers, ...], each [layers]. Each layer is matched by itself."""
    matching, candidates, others = (at_points(batch, targets, points) for points in drawn)
    layers = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), outputs)

    def costs(masks: Masks) -> jax.Array:
        logits = sample(mask_logits(masks.embeddings, masks.pixels), matching.points)
        return matching_costs(masks.class_logits, logits, targets, matching, options)

    with jax.named_scope("matching"):
        queries = match(jax.lax.map(costs, jax.lax.stop_gradient(layers)), targets.present)

    def losses(_, layer):
        masks, query = layer
        return None, layer_losses(masks, query, targets, candidates, others, totals, options)

    with jax.named_scope("loss"):
        return jax.lax.scan(rematerialize(losses), None, (layers, queries))[1]


def layer_losses(
    masks: Masks,
    query: jax.Array,
    targets: Targets,
    candidates: AtPoints,
    others: AtPoints,
    totals: Totals,
    options: LossOptions,
) -> Losses:
    """The losses of one layer's outputs [B, ...]. query: int32 [B, M], see `match`."""
    counts = targets.present & (query >= 0)
    own = take_rows(masks.embeddings, jnp.maximum(query, 0))
    whole = mask_logits(own, masks.pixels)
    logits = [sample(whole, at.points) for at in (candidates, others)]
    chosen = most_uncertain(jax.lax.stop_gradient(logits[0]), candidates.valid, options.uncertain)
    kept = jnp.broadcast_to(others.valid[..., None], logits[1].shape).astype(jnp.float32)
    mask_loss, dice_loss = point_losses(
        jnp.concatenate(logits, axis=1),
        jnp.concatenate([candidates.values, others.values], axis=1),
        jnp.concatenate([chosen, kept], axis=1),
    )
    class_loss, right = class_losses(masks.class_logits, query, counts, targets, options)
    return Losses(
        class_loss.sum() / totals.weights,
        jnp.where(counts, mask_loss, 0).sum() / totals.masks,
        jnp.where(counts, dice_loss, 0).sum() / totals.masks,
        right.sum() / totals.masks,
    )


def class_losses(
    class_logits: jax.Array,
    query: jax.Array,
    counts: jax.Array,
    targets: Targets,
    options: LossOptions,
) -> tuple[jax.Array, jax.Array]:
    """The weighted cross-entropy of each query, [B, Q], and whether a matched query's most likely
    class is right."""
    queries, no_object = class_logits.shape[1], class_logits.shape[2] - 1
    where = jnp.where(counts, query, queries)
    empty = jnp.full(class_logits.shape[:2], no_object, jnp.int32)
    wanted = jax.vmap(lambda empty, where, classes: empty.at[where].set(classes, mode="drop"))(
        empty, where, targets.classes
    )
    log = jax.nn.log_softmax(class_logits.astype(jnp.float32))
    loss = -jnp.take_along_axis(log, wanted[..., None], axis=-1)[..., 0]
    matched = wanted != no_object
    right = matched & (jnp.argmax(class_logits[..., :-1], axis=-1) == wanted)
    return loss * jnp.where(matched, 1.0, options.no_object), right


def point_losses(
    logits: jax.Array, values: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy and dice loss of each mask over its points, both [B, M].

    logits, values, weights: float32 [B, P, M]; a point counts by its weight.
    """
    entropy = weights * (jax.nn.softplus(logits) - logits * values)
    mask_loss = entropy.sum(1) / jnp.maximum(weights.sum(1), 1)
    shares = jax.nn.sigmoid(logits)
    both = (weights * shares * values).sum(1)
    sizes = (weights * (shares + values)).sum(1)
    return mask_loss, 1 - (2 * both + 1) / (sizes + 1)


def label_losses(label_logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sums over all pixels of the cross-entropy, and of right labels, float32 scalars.

    label_logits: float32 [B, h, w, C], resized to labels int16 [B, S, S] bilinearly, some rows at a
    time: for all rows at once they would be the largest array of the step.
    """
    _, h, w, _ = label_logits.shape
    side = labels.shape[1]
    rows = jax.image.resize(jnp.eye(h), (side, h), "linear")
    columns = jax.image.resize(jnp.eye(w), (side, w), "linear")
    bands = labels.reshape(len(labels), h, side // h, side).swapaxes(0, 1)

    def add(total, band):
        rows, labels = band
        logits = jnp.einsum("yh,BhwC,xw->ByxC", rows, label_logits, columns)
        log = jax.nn.log_softmax(logits)
        wanted = jnp.maximum(labels, 0).astype(jnp.int32)
        loss = -jnp.take_along_axis(log, wanted[..., None], axis=-1)[..., 0]
        right = jnp.argmax(logits, axis=-1) == wanted
        counts = labels != VOID
        sums = jnp.where(counts, loss, 0).sum(), (right & counts).sum(dtype=jnp.float32)
        return jax.tree.map(jnp.add, total, sums), None

    start = jnp.float32(0), jnp.float32(0)
    return jax.lax.scan(rematerialize(add), start, (rows.reshape(h, -1, h), bands))[0]
