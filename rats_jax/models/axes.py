"""How arrays are sharded on a mesh, as specified by the modules that make them.

A mesh has the axes `data` and `fsdp`, which split the images of a batch, and `tensor`, which splits
heads with their registers, the MLP's hidden width and the prototypes. `fsdp` also splits the stored
parameters (parallel/rules.py); kernels are gathered where they are used (`linear.cast_einsum`).
"""

from collections.abc import Callable

import jax
from jax.sharding import NamedSharding, PartitionSpec

DATA, FSDP, TENSOR = AXES = ("data", "fsdp", "tensor")
#: Mesh axes of the leading axis of an array with one entry per image or per crop.
BATCH = (DATA, FSDP)


def constrain(x: jax.Array, *axes: str | tuple[str, ...] | None) -> jax.Array:
    """x, with each dimension sharded over one of `AXES` (or several, or none).

    Does nothing if no mesh with these axes is in use (`parallel.mesh.on_mesh`).
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(AXES) <= set(mesh.axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*axes)))


def on_each_device(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """function(*arrays), computed by each device for its own images, without any communication.

    arrays: [B, ...], and so is the result. For functions with loops whose length depends on values:
    otherwise the devices of a mesh would agree before each iteration.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(AXES) <= set(mesh.axis_names):
        return function(*arrays)
    images = PartitionSpec(BATCH)
    return jax.shard_map(function, mesh=mesh, in_specs=images, out_specs=images, check_vma=False)(
        *arrays
    )
