"""Which query predicts which mask: the assignment of least cost, as in Mask2Former.

The assignment is computed on the device. A callback to scipy would send the costs of every device
to a host and wait for it, and on a pod it would gather them first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rats_jax.mask_head.options import LossOptions
from rats_jax.mask_head.targets import AtPoints, Targets
from rats_jax.models.axes import on_each_device

#: The cost of pairs whose cost is not a number; no other cost is larger.
MOST = 1e6


def matching_costs(
    class_logits: jax.Array,
    mask_logits: jax.Array,
    targets: Targets,
    at: AtPoints,
    options: LossOptions,
) -> jax.Array:
    """The cost of each pair of a mask and a query, float32 [B, M, Q].

    class_logits: [B, Q, C + 1]. mask_logits: [B, P, Q], at the points of `at`.
    """
    mask_logits = mask_logits.astype(jnp.float32)
    probabilities = jax.nn.softmax(class_logits.astype(jnp.float32), axis=-1).swapaxes(1, 2)
    of_class = -jnp.take_along_axis(probabilities, targets.classes[..., None], axis=1)

    valid = at.valid.astype(jnp.float32)
    count = jnp.maximum(valid.sum(1), 1)[:, None, None]
    counted = at.values * valid[..., None]  # [B, P, M]
    missed = _product(counted, jax.nn.softplus(-mask_logits))
    false = _product(valid[..., None] - counted, jax.nn.softplus(mask_logits))
    of_mask = (missed + false) / count

    shares = jax.nn.sigmoid(mask_logits)
    both = _product(counted, shares)
    sizes = counted.sum(1)[:, :, None] + _product(valid[..., None], shares)
    of_dice = 1 - (2 * both + 1) / (sizes + 1)

    weights = options.class_weight, options.mask_weight, options.dice_weight
    total = sum(w * x for w, x in zip(weights, (of_class, of_mask, of_dice), strict=True))
    return jnp.where(jnp.isfinite(total), jnp.clip(total, -MOST, MOST), MOST)


def _product(x_BPM: jax.Array, x_BPQ: jax.Array) -> jax.Array:
    return jnp.einsum("BPM,BPQ->BMQ", x_BPM, x_BPQ, preferred_element_type=jnp.float32)


def match(costs: jax.Array, present: jax.Array) -> jax.Array:
    """The query of each mask, int32 [layers, B, M], or -1: for padding, and for the masks that are
    left out where an image has more masks than queries.

    costs: [layers, B, M, Q]. present: bool [B, M]. The sum of costs is the least possible.
    """
    of_image = jax.vmap(assign, in_axes=(0, None))
    queries = on_each_device(jax.vmap(of_image), costs.swapaxes(0, 1), present)
    return queries.swapaxes(0, 1)


class _Search(NamedTuple):
    """A search for the shortest path from a row to a free column.

    distance: [K], of the columns found so far. done: bool [K]. parent: int32 [K], the row before a
    column. row: the row that is looked at. last: the column reached. length: of the path to it.
    """

    distance: jax.Array
    done: jax.Array
    parent: jax.Array
    row: jax.Array
    last: jax.Array
    length: jax.Array


def assign(costs: jax.Array, present: jax.Array) -> jax.Array:
    """`match` of one image: costs [M, Q], present [M] -> int32 [M].

    Rows are assigned one after another, each along the shortest augmenting path (Jonker and
    Volgenant), which is exact. The number of steps depends on the masks that are present.
    """
    rows, queries = costs.shape
    # Columns for the masks that are left out: free of cost, as many as needed and no more.
    spare = jnp.maximum(present.sum() - queries, 0)
    surplus = max(rows - queries, 0)
    unused = jnp.where(jnp.arange(surplus) < spare, 0.0, jnp.inf)
    costs = jnp.concatenate([costs, jnp.broadcast_to(unused, (rows, surplus))], axis=1)
    columns = queries + surplus

    def add_row(row: jax.Array, state):
        prices_of_rows, prices, row_of, column_of = state

        def step(search: _Search) -> _Search:
            reduced = costs[search.row] - prices_of_rows[search.row] - prices
            through = search.length + reduced
            shorter = ~search.done & (through < search.distance)
            distance = jnp.where(shorter, through, search.distance)
            last = jnp.argmin(jnp.where(search.done, jnp.inf, distance)).astype(jnp.int32)
            return _Search(
                distance,
                search.done.at[last].set(True),
                jnp.where(shorter, search.row, search.parent),
                row_of[last],
                last,
                distance[last],
            )

        search = jax.lax.while_loop(
            lambda search: search.row >= 0,
            step,
            _Search(
                jnp.full(columns, jnp.inf),
                jnp.zeros(columns, bool),
                jnp.full(columns, -1, jnp.int32),
                jnp.where(present[row], row, -1),
                jnp.int32(-1),
                jnp.float32(0),
            ),
        )
        rise = jnp.where(search.done, search.length - search.distance, 0)
        prices = prices - rise
        own = jnp.where(column_of >= 0, rise[column_of], 0).at[row].set(search.length)
        prices_of_rows = prices_of_rows + own

        def augment(at):
            column, row_of, column_of = at
            parent = search.parent[column]
            before = column_of[parent]
            return before, row_of.at[column].set(parent), column_of.at[parent].set(column)

        _, row_of, column_of = jax.lax.while_loop(
            lambda at: at[0] >= 0, augment, (search.last, row_of, column_of)
        )
        return prices_of_rows, prices, row_of, column_of

    start = (
        jnp.zeros(rows),
        jnp.zeros(columns),
        jnp.full(columns, -1, jnp.int32),
        jnp.full(rows, -1, jnp.int32),
    )
    last = jnp.max(jnp.where(present, jnp.arange(1, rows + 1), 0))
    column_of = jax.lax.fori_loop(0, last, add_row, start)[3]
    return jnp.where(column_of < queries, column_of, -1)
