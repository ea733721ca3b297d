"""Floating-point operations counted by hand, in the minimal form.

A compiler counts a scanned block only once, so utilisation is measured against these numbers. They
count products only: norms, softmax and activations are left out (under 1 % at these widths). A
product is a multiply-accumulate (MAC), two FLOPs.
"""

from collections import Counter
from collections.abc import Mapping

from rats_jax.models.options import Options, PerceiverOptions, RATSOptions, ViTOptions


def forward_macs(options: Options, *, pixels: int) -> int:
    """MACs of one square image through the backbone."""
    return sum(forward_parts(options, pixels=pixels).values())


def forward_parts(options: Options, *, pixels: int) -> Counter:
    """MACs of one square image of `pixels` x `pixels` through the backbone, grouped by how the
    backward pass treats them (`recomputed_macs`):

        embed       patch embedding
        matrices    products of a kernel and all tokens, except those of `last`
        last        the MLP's second product
        bottleneck  register attention's three steps, which are never stored
        batched     other products, computed separately for each image or each head

    Options that cost nothing are ignored.
    """
    patches = options.patches(pixels)
    embed = Counter(embed=3 * options.patch**2 * options.width * patches)
    return embed + LAYERS[options.architecture](options, patches)


def _block(options: Options, tokens: int, context: int | None = None) -> Counter:
    """Parts of one `Block`, whose tokens attend to themselves or to `context` other tokens."""
    square, context = options.width**2, tokens if context is None else context
    mlp = options.mlp_ratio * square * tokens
    return Counter(
        matrices=2 * square * tokens + 2 * square * context + mlp,
        batched=2 * tokens * context * options.width,
        last=mlp,
    )


def _vit(options: ViTOptions, patches: int) -> Counter:
    return _times(options.depth, _block(options, 1 + patches + options.registers))


def _perceiver(options: PerceiverOptions, patches: int) -> Counter:
    read_in, read_out = (options.latents, patches), (options.queries, options.latents)
    inner = _times(options.depth - 2, _block(options, options.latents))
    return _block(options, *read_in) + inner + _block(options, *read_out)


def _rats(options: RATSOptions, patches: int) -> Counter:
    width, heads, registers = options.width, options.heads, options.registers
    square = width**2
    shared = options.sharing == "shared"
    # Each head works with its own n registers, or with all N; d * heads = D.
    per_head = registers if shared else options.registers_per_head
    layer = Counter(
        matrices=(4 * patches + options.mlp_ratio * (patches + registers)) * square,
        bottleneck=4 * patches * per_head * width + 2 * per_head**2 * width,
        last=options.mlp_ratio * square * (patches + registers),
    )
    if shared:
        layer["matrices"] += 2 * square * registers
    else:
        layer["batched"] += 2 * square // heads * registers
    if options.communicate == "learned":
        layer["bottleneck"] += 3 * per_head * square // heads
    if options.parallel != "none":
        layer["matrices"] += {"shared": 1, "separate": 4}[options.parallel] * square * patches
        layer["batched"] += 2 * patches**2 * width
    return _times(options.depth, layer)


#: By architecture: the parts of all layers, without the embedding.
LAYERS = {"rats": _rats, "vit": _vit, "perceiver": _perceiver}


def _times(count: int, parts: Counter) -> Counter:
    return Counter({name: count * macs for name, macs in parts.items()})


def head_macs(*, width: int, hidden: int, bottleneck: int, prototypes: int, **_) -> int:
    """MACs of one global vector through the DINO head and its prototypes."""
    return width * hidden + hidden**2 + hidden * bottleneck + bottleneck * prototypes


def recomputed_macs(options: Options, *, remat: str, pixels: int) -> int:
    """MACs of a forward pass that the backward pass recomputes under config.model.remat. The MLP's
    second product is not recomputed, because its result is not needed. (A Perceiver's first and
    last blocks are counted, although they are not recomputed.)"""
    parts = forward_parts(options, pixels=pixels)
    again = {
        "none": ("bottleneck",),
        "dots": ("bottleneck", "batched"),
        "full": ("bottleneck", "batched", "matrices"),
    }[remat]
    return sum(parts[name] for name in again)


def training_flops(options: Options, *, crops: Mapping) -> int:
    """FLOPs of one training image: student forward and backward on all crops, teacher forward on
    the two global ones. Backbone only; the backward pass counts as twice the forward pass.

    crops: the section of a config.
    """
    large = forward_macs(options, pixels=crops["global_size"])
    small = forward_macs(options, pixels=crops["local_size"])
    return 2 * (3 * (2 * large + crops["local_crops"] * small) + 2 * large)


def image_flops(
    options: Options, *, crops: Mapping, head: Mapping, remat: str, losses: int = 1
) -> dict[str, int]:
    """FLOPs of one training image, backbone and head, by part: "teacher", "student", "backward",
    and "recomputed" (by the backward pass, see `recomputed_macs`).

    crops, head: the sections of a config. remat: config.model.remat. losses: global vectors per
    crop.

    The backward pass counts as twice the forward pass, except that patches need no gradient.
    """
    views = {"global_size": 2, "local_size": crops["local_crops"]}
    projection = losses * head_macs(width=options.width, **head)
    student = backward = again = 0
    for size, count in views.items():
        parts = forward_parts(options, pixels=crops[size])
        macs = sum(parts.values()) + projection
        student += count * macs
        backward += count * (2 * macs - parts["embed"])
        again += count * recomputed_macs(options, remat=remat, pixels=crops[size])
    teacher = 2 * (forward_macs(options, pixels=crops["global_size"]) + projection)
    parts = {"teacher": teacher, "student": student, "backward": backward, "recomputed": again}
    return {name: 2 * macs for name, macs in parts.items()}
