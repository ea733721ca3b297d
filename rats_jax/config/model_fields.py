"""Fields of the model: the backbone, its head, and the devices that it is split over.

Nearly all of these set the shape of the state, so a run cannot be resumed with other values.
"""

from rats_jax.config.checks import BELOW_ONE, NOT_NEGATIVE, POSITIVE, below, one_of, one_of_or_empty
from rats_jax.config.field import Field
from rats_jax.config.imported import IMPORTED
from rats_jax.models import SIZES
from rats_jax.models.options import OPTIONS

RUN_WIDE = (
    Field(
        "seed",
        0,
        "Seed of all random numbers of the run: parameters, order of the images, crops and "
        "augmentation. A checkpoint holds the key that is made from it.",
        check=below(2**32),
        fixed=True,
    ),
    Field(
        "compute_dtype",
        "bfloat16",
        "Type of activations and matrix products. Parameters, optimizer state and teacher are "
        "always float32.",
        check=one_of("bfloat16", "float32"),
        automatic=True,
    ),
)

MODEL = (
    Field(
        "model.architecture",
        "rats",
        "The backbone: RATS, a plain ViT, or a Perceiver.",
        check=one_of(*OPTIONS),
        fixed=True,
    ),
    Field(
        "model.size",
        "",
        "Sets width, depth and heads together: "
        + "; ".join(f"{name}: {', '.join(map(str, of.values()))}" for name, of in SIZES.items())
        + ". Empty to set them one by one.",
        check=one_of_or_empty(*SIZES),
        old_runs="",
        silent=True,
    ),
    Field(
        "model.width",
        384,
        "Channels of a token. Must be divisible by `model.heads`.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "model.depth",
        12,
        "Number of blocks. A Perceiver has at least 3.",
        check=POSITIVE,
        fixed=True,
    ),
    Field("model.heads", 6, "Attention heads of a block.", check=POSITIVE, fixed=True),
    Field("model.patch", 16, "Side of a patch, in pixels.", check=POSITIVE, fixed=True),
    Field(
        "model.mlp_ratio",
        4,
        "Hidden channels of an MLP, as a multiple of `model.width`.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "model.drop_path",
        0.0,
        "Stochastic depth: the probability that a residual branch of the last block is dropped for "
        "an image. It rises linearly from 0 at the first block.",
        check=BELOW_ONE,
    ),
    Field(
        "model.position_offset",
        0.1,
        "Added to the target size, in patches, when the position embedding is interpolated to "
        "another image size: 0.1 as in the official DINO code, 0.0 for plain interpolation.",
    ),
    Field(
        "model.registers_per_head",
        16,
        "RATS: registers that each head owns.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "model.register_std",
        0.02,
        "RATS: standard deviation of the registers at initialisation.",
        check=POSITIVE,
        fixed=True,
        old_runs=0.02,
    ),
    Field(
        "model.kernel_std",
        0.02,
        "Standard deviation, at initialisation, of the kernels of attention and MLPs and of the "
        "position embedding. See `rats_jax/models/start.py`.",
        check=POSITIVE,
        fixed=True,
        old_runs=0.02,
    ),
    Field(
        "model.query_key_gain",
        1.0,
        "Factor on the projections to queries and keys at initialisation.",
        check=POSITIVE,
        fixed=True,
        old_runs=1.0,
    ),
    Field(
        "model.value_gain",
        1.0,
        "Factor on the projections to values at initialisation.",
        check=POSITIVE,
        fixed=True,
        old_runs=1.0,
    ),
    Field(
        "model.communicate",
        "parameter_free",
        "RATS: how the registers of a head exchange information: without parameters, or with "
        "learned projections (Table 3 of the paper).",
        check=one_of("parameter_free", "learned"),
        fixed=True,
    ),
    Field(
        "model.sharing",
        "partitioned",
        "RATS: whether each head owns its registers (`partitioned`) or all heads read the same "
        "ones (`shared`).",
        check=one_of("partitioned", "shared"),
        fixed=True,
    ),
    Field(
        "model.parallel",
        "none",
        "RATS: self-attention among the patches, added to register attention (Eq. 8 of the paper): "
        "`none`, with the projections of the block (`shared`), or with its own (`separate`).",
        check=one_of("none", "shared", "separate"),
        fixed=True,
    ),
    Field(
        "model.plain_registers",
        0,
        "ViT: number of register tokens, which all heads share, as they share [CLS].",
        check=NOT_NEGATIVE,
        fixed=True,
    ),
    Field("model.latents", 80, "Perceiver: number of latents.", check=POSITIVE, fixed=True),
    Field("model.queries", 96, "Perceiver: number of output queries.", check=POSITIVE, fixed=True),
    Field(
        "model.imported",
        "",
        "Options of weights from other implementations that no other field has, as JSON: epsilon "
        "of the norms, LayerScale, gated MLP, kind of positions, periods of RoPE, a fractional "
        "`mlp_ratio`. The first start takes them from `init.checkpoint`.",
        check=IMPORTED,
        fixed=True,
        old_runs="",
    ),
    Field(
        "model.remat",
        "none",
        "What the backward pass computes again instead of reading it from memory: nothing "
        "(`none`), all but the most expensive matrix products (`dots`), or all of a block "
        "(`full`).",
        check=one_of("none", "dots", "full"),
        automatic=True,
    ),
    Field(
        "model.unroll",
        1,
        "Blocks in one iteration of the compiled loop over blocks.",
        check=POSITIVE,
    ),
)

MESH = (
    Field(
        "mesh.data",
        -1,
        "Devices along the axis `data`. The batch is split over `data` and `fsdp`. One of the "
        "three sizes may be -1, which takes the devices that are left.",
    ),
    Field(
        "mesh.fsdp",
        1,
        "Devices along the axis `fsdp`, which splits parameters, optimizer moments and the teacher "
        "as well as the batch. -1 as for `mesh.data`.",
    ),
    Field(
        "mesh.tensor",
        1,
        "Devices along the axis `tensor`, which splits heads with their registers, MLPs and "
        "prototypes. Must divide `model.heads`. -1 as for `mesh.data`.",
    ),
)

HEAD = (
    Field("head.hidden", 2048, "Channels of the DINO head's MLP.", check=POSITIVE, fixed=True),
    Field(
        "head.bottleneck",
        256,
        "Channels of the vector that is compared with the prototypes.",
        check=POSITIVE,
        fixed=True,
    ),
    Field(
        "head.prototypes",
        65_536,
        "Number of prototypes.",
        check=POSITIVE,
        fixed=True,
        automatic=True,
    ),
    Field(
        "head.norm_last_layer",
        True,
        "Whether the gains of the weight-normalised last layer stay at 1. Training is steadier if "
        "they do.",
        fixed=True,
    ),
)
