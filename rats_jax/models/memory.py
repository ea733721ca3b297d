"""Bytes of one device's training step, counted by hand.

The state and the arrays that blocks keep for the backward pass are counted exactly. The rest of a
step's peak (gradients, the block that is being computed, logits, crops) depends on the order that a
compiler chooses. It is a sum of parts whose factors were fitted to the compilers of CPUs and TPUs:
`benchmarks/step_bytes.py` compares them, and docs/gpus.md has the table.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from rats_jax.models.options import Options, PerceiverOptions, RATSOptions

FLOAT32 = 4
#: Trees of float32 parameters in a state: student, teacher, and two moments.
TREES = 4
#: Beside the state, in float32 arrays of the size of all parameters: gradients of global and local
#: crops, and their sum; with accumulation also the sum over parts.
GRADIENTS = 3
#: The gradients of the block whose backward pass is being computed, in units of what a block keeps
#: with remat=none, in float32.
WORKING = 1.4
#: What layouts and conversions add to the arrays that blocks keep in bfloat16, as a part of them:
#: seen on TPUs (docs/gpus.md), and counted for all devices, to be rather above than below.
PADDING = 0.08
#: Arrays of the size of the distances to the entries of a learned dictionary, in a backward pass:
#: distances, softmax, gradient, and where the nearest is.
DISTANCES = 4
#: The step, the random key, the steps that were skipped, and Adam's two counts.
COUNTERS = 28


class TrainingBytes(NamedTuple):
    """Bytes of one device.

    state: student, teacher, moments and center. kept: what the forward pass of one micro-batch
    keeps for its backward pass. peak: all that a step needs, with the state."""

    state: int
    kept: int
    peak: int


def training_bytes(
    options: Options,
    *,
    hidden: int,
    bottleneck: int,
    prototypes: int,
    global_size: int,
    local_size: int,
    local_crops: int,
    images: int,
    accumulation: int = 1,
    remat: str = "none",
    dtype: str = "bfloat16",
    losses: int = 1,
    shards: int = 1,
    entries: int = 0,
    distances: int = 0,
) -> TrainingBytes:
    """The bytes that one device needs for a training step.

    Args:
      options: of the backbone.
      hidden, bottleneck, prototypes: of the DINO head.
      global_size, local_size, local_crops: the crops of an image; two are global.
      images: the device's share of a batch, of all micro-batches together.
      accumulation, remat, dtype: config.optimizer.accumulation, config.model.remat,
        config.compute_dtype.
      losses: global vectors per crop (heads with config.dino.loss_scope=head).
      shards: how many devices split the state (config.mesh.fsdp).
      entries: of a learned dictionary (config.dictionary.entries); 0 without one.
      distances: between registers and entries that are computed at a time, for each image.
    """
    size = jnp.dtype(dtype).itemsize
    backbone = backbone_parameters(options)
    parameters = backbone + head_parameters(options.width, hidden, bottleneck, prototypes)
    parameters += entries * options.width
    state = TREES * FLOAT32 * parameters // shards + FLOAT32 * losses * prototypes + COUNTERS

    part = -(-images // accumulation)
    crops = [(global_size, 2), (local_size, local_crops)]
    blocks = sum(
        part * count * kept_of_crop(options, pixels=pixels, remat=remat, size=size)
        for pixels, count in crops
    )
    vectors = part * (2 + local_crops) * losses
    of_head = vectors * size * (options.width + 4 * hidden + 2 * bottleneck)
    logits = FLOAT32 * prototypes * (vectors + 2 * part * losses)
    pixels = sum(3 * count * side**2 for side, count in crops)
    # The patches of crops, in the compute dtype, and the float32 crops before them.
    inputs = part * pixels * (FLOAT32 + size)
    kept = int(blocks + of_head + logits + inputs)

    of_dictionary = part * FLOAT32 * DISTANCES * distances if entries else 0
    working = max(part * count * _working(options, side, remat, size) for side, count in crops)
    peak = (
        state
        + images * pixels  # the samples, uint8
        + kept
        + logits  # their gradient
        # Distances are computed again before the backward pass of any block.
        + max(working, of_dictionary)
        + (GRADIENTS + (accumulation > 1)) * FLOAT32 * parameters // shards
        # Kernels in the compute dtype, of teacher and student.
        + (2 * size * backbone + PADDING * blocks if size < FLOAT32 else 0)
    )
    return TrainingBytes(state, kept, int(peak))


def backbone_parameters(options: Options) -> int:
    """The number of parameters of the backbone."""
    width, patch = options.width, options.patch
    embed = (3 * patch**2 + 1) * width
    tokens, block = _PARAMETERS.get(options.architecture, _plain_parameters)(options)
    return int(embed + tokens * width + options.depth * block + 2 * width)


def head_parameters(width: int, hidden: int, bottleneck: int, prototypes: int) -> int:
    """The number of parameters of the DINO head, whose gains are not trained."""
    mlp = (width + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * bottleneck
    return mlp + bottleneck * prototypes


def kept_of_crop(options: Options, *, pixels: int, remat: str, size: int) -> float:
    """Bytes that all layers keep of one crop for the backward pass. size: bytes of a number in the
    compute dtype."""
    if isinstance(options, PerceiverOptions):
        patches, width = options.patches(pixels), options.width
        latents, queries = options.latents, options.queries
        # Its first and last block are outside the loop over blocks, and always keep everything.
        ends = _cross(options, latents, patches, size) + _cross(options, queries, latents, size)
        inner = kept_of_layer(options, pixels=pixels, remat=remat, size=size)
        return ends + (options.depth - 2) * inner + size * width * patches
    return options.depth * kept_of_layer(options, pixels=pixels, remat=remat, size=size)


def kept_of_layer(options: Options, *, pixels: int, remat: str, size: int) -> float:
    """Bytes that one layer of the loop over blocks keeps of one crop."""
    kept = _KEPT.get(options.architecture, _plain_kept)
    return kept(options, options.patches(pixels), remat, size)


def _working(options: Options, pixels: int, remat: str, size: int) -> float:
    """Bytes of the block whose backward pass is being computed, for one crop: what it recomputes,
    and gradients."""
    recomputed = _layer("none", options, pixels, size) - _layer(remat, options, pixels, size)
    return recomputed + WORKING * _layer("none", options, pixels, FLOAT32)


def _layer(remat: str, options: Options, pixels: int, size: int) -> float:
    return kept_of_layer(options, pixels=pixels, remat=remat, size=size)


def _rats_kept(options: RATSOptions, patches: int, remat: str, size: int) -> float:
    ratio, registers = options.mlp_ratio, options.registers
    of_patch = {"full": 1, "dots": 5 + ratio, "none": 8 + 2 * ratio}[remat]
    of_register = {"full": 1, "dots": 1 + ratio, "none": 4 + 2 * ratio}[remat]
    if options.sharing == "shared":  # queries and messages, as wide as all heads
        of_register += {"full": 0, "dots": 2, "none": 3}[remat]
    elif remat == "none":  # as wide as one head
        of_register += 2 / options.heads
    kept = size * options.width * (patches * of_patch + registers * of_register)
    if options.parallel != "none" and remat != "full":
        kept += size * options.width * patches * {"dots": 4, "none": 5}[remat]
        kept += _probabilities(options, patches, patches, size) if remat == "none" else 0
    return kept


def _plain_kept(options: Options, patches: int, remat: str, size: int) -> float:
    return _block_kept(options, options.has_cls + patches + options.registers, remat, size)


def _perceiver_kept(options: PerceiverOptions, patches: int, remat: str, size: int) -> float:
    return _block_kept(options, options.latents, remat, size)


def _block_kept(options: Options, tokens: int, remat: str, size: int) -> float:
    """What a `Block` keeps whose tokens attend to each other."""
    ratio = options.mlp_ratio * (2 if getattr(options, "gated_mlp", False) else 1)
    widths = {"full": 1, "dots": 5 + ratio, "none": 8 + 2 * ratio}[remat]
    kept = size * options.width * tokens * widths
    return kept + (_probabilities(options, tokens, tokens, size) if remat == "none" else 0)


def _cross(options: Options, tokens: int, context: int, size: int) -> float:
    """What a `Block` keeps without remat whose tokens attend to a context."""
    widths = (6 + 2 * options.mlp_ratio) * tokens + 3 * context
    return size * options.width * widths + _probabilities(options, tokens, context, size)


def _probabilities(options: Options, tokens: int, context: int, size: int) -> int:
    """Attention is not fused (jax.nn.dot_product_attention by XLA), so without remat its
    probabilities are kept, in float32 and in the compute dtype, and a maximum and a sum of each
    row."""
    return options.heads * tokens * (context * (FLOAT32 + size) + 2 * FLOAT32)


def _block_parameters(options: Options, *, gated: bool = False, scales: bool = False) -> float:
    width = options.width
    inner = round(options.mlp_ratio * width)
    mlp = (3 if gated else 2) * inner * width + (2 if gated else 1) * inner + width
    return 4 * width**2 + 4 * width + mlp + 4 * width + 2 * width * scales


def _rats_parameters(options: RATSOptions) -> tuple[int, float]:
    width, block = options.width, _block_parameters(options)
    if options.communicate == "learned":
        block += 3 * width**2 // options.heads
    if options.parallel == "separate":
        block += 4 * width**2 + 4 * width
    return options.patches(options.image_size) + options.registers, block


def _plain_parameters(options: Options) -> tuple[int, float]:
    """Those of a ViT, or of a backbone like it without [CLS]."""
    gated, scales = (getattr(options, name, False) for name in ("gated_mlp", "layer_scale"))
    block = _block_parameters(options, gated=gated, scales=scales)
    positions = options.has_cls + options.patches(options.image_size)
    if getattr(options, "positions", "learned") == "rope":
        positions = 0
    return positions + options.has_cls + options.registers, block


def _perceiver_parameters(options: PerceiverOptions) -> tuple[int, float]:
    tokens = options.patches(options.image_size) + options.latents + options.queries
    return tokens, _block_parameters(options)


#: By architecture: (tokens that are parameters, parameters of a block). Those that are not listed
#: are counted as a ViT with the same tokens, here and in `_KEPT`.
_PARAMETERS: dict[str, Callable[..., tuple[int, float]]] = {
    "rats": _rats_parameters,
    "perceiver": _perceiver_parameters,
}
#: By architecture: bytes that a layer keeps of a crop.
_KEPT: dict[str, Callable[..., float]] = {"rats": _rats_kept, "perceiver": _perceiver_kept}
