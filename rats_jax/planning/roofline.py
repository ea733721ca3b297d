"""The least time that a step can take on a chip. This is a roofline bound, not a prediction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rats_jax.planning.collectives import Traffic
from rats_jax.planning.hardware import Chip


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Seconds per step that each resource of a chip is busy at its peak rate."""

    products: float
    memory: float
    links: float
    network: float

    @property
    def seconds(self) -> float:
        return max(self.products, self.memory, self.links, self.network)

    @property
    def by(self) -> str:
        """The busiest resource."""
        return max(vars(self), key=vars(self).get)


def bound(
    chip: Chip,
    *,
    flops: float,
    hbm_bytes: float,
    traffic: Sequence[Traffic],
    mesh_shape: dict[str, int],
    links: int,
    slices: int,
) -> Bound:
    """The bound of a step.

    flops, hbm_bytes: of one chip in a step. links: number of links of a chip, all assumed to be
    busy in both directions. Data crosses slices after it is reduced within each slice, or before it
    is gathered there."""
    between = 0.0
    if slices > 1:
        for row in traffic:
            if "data" in row.axes:
                group = math.prod(mesh_shape[axis] for axis in row.axes) // slices
                rounds = 2 if row.kind == "all-reduce" else 1
                between += rounds * (slices - 1) / slices * row.bytes / group
    return Bound(
        products=flops / chip.flops,
        memory=hbm_bytes / chip.bandwidth,
        links=sum(row.sent for row in traffic) / (links * chip.link),
        network=between / chip.network,
    )
