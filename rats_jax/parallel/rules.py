"""How the mesh axes split the state: one table for parameters, moments and teacher.

`tensor` splits heads with their registers, the MLP's hidden width, the DINO head and the
prototypes. `fsdp` splits every matrix along another dimension. `fsdp` does not split vectors
(biases, norms): they have a thousandth of the bytes, and each would need a gather.
"""

import re

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rats_jax.errors import UserError
from rats_jax.models.axes import FSDP, TENSOR

#: (pattern for the end of a path in the state, axes of the array's last dimensions). Earlier
#: dimensions are not split. The first matching rule applies.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    # backbones
    ("patch_embed/kernel", (FSDP,)),
    ("patch_embed/bias", ()),
    ("(pos_embed|cls_token|latents|queries)", (FSDP,)),
    ("registers", (TENSOR, None, FSDP)),  # [H, n, D]; those of a ViT are [R, D]
    ("norm[12]?/(scale|bias)", ()),
    # blocks
    ("qkv/kernel", (FSDP, None, TENSOR, None)),  # [D, 3, H, d]
    ("qkv/bias", (TENSOR, None)),
    ("out/kernel", (TENSOR, None, FSDP)),  # [H, d, D]
    ("out/bias", ()),
    ("communicate", (TENSOR, None, None)),  # [3, H, d, d]
    ("mlp/fc1/kernel", (FSDP, TENSOR)),
    ("mlp/fc1/bias", (TENSOR,)),
    ("mlp/fc2/kernel", (TENSOR, FSDP)),
    ("mlp/fc2/bias", ()),
    ("mlp/w12/kernel", (FSDP, TENSOR)),  # gate and value, one after the other
    ("mlp/w12/bias", (TENSOR,)),
    ("mlp/w3/kernel", (TENSOR, FSDP)),
    ("mlp/w3/bias", ()),
    ("ls[12]/gamma", ()),
    # DINO head: the hidden layer is split, the others sum over it
    ("head/fc1/kernel", (FSDP, TENSOR)),
    ("head/fc1/bias", (TENSOR,)),
    ("head/fc[23]/kernel", (TENSOR, FSDP)),
    ("head/fc[23]/bias", ()),
    ("direction", (FSDP, TENSOR)),  # [bottleneck, K]
    ("gain", (TENSOR,)),
    ("center", (TENSOR,)),  # [G, K]
    # heads of segmentation: see mask_head/head.py
    ("(classify|project|embed/fc[123])/kernel", (FSDP, None)),
    ("(classify|project|embed/fc[123])/bias", ()),
    ("grow/kernel", (FSDP, None, None, TENSOR)),  # [E, 2, 2, E]
    ("grow/bias", (TENSOR,)),
    ("depthwise", (None, None, TENSOR)),  # [3, 3, E]
    # learned dictionary: as the prototypes
    ("dictionary/entries", (TENSOR, FSDP)),  # [E, D]
    # counts, and the key
    ("(step|count|rng|skipped)", ()),
)


def axes_of(path: str) -> tuple[str | None, ...]:
    """The rule for the array at a path such as "student/backbone/blocks/mlp/fc1/kernel"."""
    for pattern, axes in RULES:
        if re.search(f"(^|/){pattern}$", path):
            return axes
    raise ValueError(f"no rule in parallel/rules.py defines how to split {path}")


def state_shardings(mesh: Mesh, state):
    """A tree of NamedSharding for the state or a part of it, whose arrays may be abstract.

    Raises UserError if a dimension is not divisible by its axis, ValueError if no rule matches.
    """

    def sharding(path, x: jax.ShapeDtypeStruct) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        axes = axes_of(name)
        axes = axes[max(len(axes) - x.ndim, 0) :]
        spec = (None,) * (x.ndim - len(axes)) + axes
        for size, axis in zip(x.shape, spec, strict=True):
            if axis and size % mesh.shape[axis]:
                raise UserError(
                    f"config.mesh.{axis}={mesh.shape[axis]} does not divide {size}, a dimension of "
                    f"{name} {x.shape}; choose a divisor"
                )
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree_util.tree_map_with_path(sharding, state)
