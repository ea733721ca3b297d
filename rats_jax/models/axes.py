"""Where arrays lie on a mesh, said by the modules that make them.

A mesh has the axes `data` and `fsdp`, which split the images of a batch, and `tensor`, which splits
heads with their registers, the MLP's hidden width and the prototypes. `fsdp` also splits what is
stored (parallel/rules.py), and is gathered where it is used (`linear.product`).
"""

import jax
from jax.sharding import NamedSharding, PartitionSpec

DATA, FSDP, TENSOR = AXES = ("data", "fsdp", "tensor")
#: Of the leading axis of whatever has one entry an image, or a crop.
BATCH = (DATA, FSDP)


def constrain(x: jax.Array, *axes: str | tuple[str, ...] | None) -> jax.Array:
    """x, laid out with one of `AXES` (or several, or none) for each of its dimensions.

    Does nothing where no mesh of these axes is in use (`parallel.mesh.on_mesh`).
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(AXES) <= set(mesh.axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*axes)))
