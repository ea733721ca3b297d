"""The devices of a run as a mesh."""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rats_jax.errors import UserError


def data_mesh(*, batch_size: int) -> Mesh:
    """All devices along one axis, `data`, over which a batch is split and the state replicated."""
    devices = jax.device_count()
    if batch_size % devices:
        raise UserError(
            f"config.optimizer.batch_size {batch_size} does not divide by the {devices} devices; "
            f"the nearest that does is {max(round(batch_size / devices), 1) * devices}"
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose leading axis is the images of a batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Of arrays that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())
