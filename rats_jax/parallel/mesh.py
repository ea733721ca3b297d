"""The devices of a run as a mesh of three axes, `data`, `fsdp` and `tensor`.

The images of a batch are split over `data` and `fsdp`. `data` is outermost: only this axis crosses
the slices of a multi-slice TPU, or the nodes of a GPU cluster.
"""

import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from rats_jax.errors import UserError
from rats_jax.models.axes import AXES, BATCH


def make_mesh(
    *, data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence | None = None
) -> Mesh:
    """A mesh of all `devices` (by default `jax.devices()`); one size may be -1 to be inferred.

    Raises UserError if the product of the sizes is not the number of devices, or if `data` is not a
    multiple of the number of slices.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    sizes = _sizes({"data": data, "fsdp": fsdp, "tensor": tensor}, len(devices))
    if sizes["data"] % slices:
        raise UserError(
            f"data is {sizes['data']} on {slices} slices (or nodes): fsdp and tensor must fit in "
            f"one of them, so make data a multiple of {slices}"
        )
    shape = tuple(sizes.values())
    if slices > 1:
        within = (shape[0] // slices, *shape[1:])
        grid = mesh_utils.create_hybrid_device_mesh(
            within, (slices, 1, 1), devices, allow_split_physical_axes=True
        )
    else:
        grid = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _sizes(asked: dict[str, int], devices: int) -> dict[str, int]:
    given = " ".join(f"{name}={size}" for name, size in asked.items())
    if any(size < 1 and size != -1 for size in asked.values()):
        raise UserError(f"{given}: sizes are 1 or more, or -1 for the remaining devices")
    known = math.prod(size for size in asked.values() if size != -1)
    unknown = [name for name, size in asked.items() if size == -1]
    if len(unknown) > 1:
        raise UserError(f"{given}: only one size may be -1")
    if devices % known or (not unknown and known != devices):
        raise UserError(
            f"{given} need {known if not unknown else f'a multiple of {known}'} devices, but there "
            f"are {devices}; set one size to -1 and choose the others so that their product "
            f"divides {devices}"
        )
    return asked | {name: devices // known for name in unknown}


def on_mesh(mesh: Mesh):
    """A context: modules traced in it shard their arrays over the mesh."""
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays whose leading axis is the images of a batch."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def describe(mesh: Mesh) -> str:
    """The mesh as text, such as 8 cpu devices (data 2 x fsdp 4)."""
    sizes = " x ".join(f"{axis} {size}" for axis, size in mesh.shape.items() if size > 1)
    kind = mesh.devices.flat[0].device_kind
    return f"{mesh.size} {kind} device{'s' * (mesh.size > 1)}" + (f" ({sizes})" if sizes else "")


def batch_shards(mesh: Mesh) -> int:
    """The number of shards that the images of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in BATCH)
