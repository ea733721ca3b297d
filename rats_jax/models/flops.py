"""Floating-point operations counted by hand, in the minimal form.

A compiler's own count sees a scanned block once, so utilisation is measured against these. Products
only: norms, softmax and activations are left out (under 1 % at these widths). A product is a
multiply-accumulate (MAC), two FLOPs.
"""

from collections import Counter


def forward_macs(**model: int | str) -> int:
    """MACs of one square image through the backbone; arguments as `forward_parts`."""
    return sum(forward_parts(**model).values())


def forward_parts(
    *,
    architecture: str,
    pixels: int,
    width: int,
    depth: int,
    heads: int,
    patch: int = 16,
    mlp_ratio: int = 4,
    registers_per_head: int = 16,
    communicate: str = "parameter_free",
    sharing: str = "partitioned",
    parallel: str = "none",
    plain_registers: int = 0,
    latents: int = 80,
    queries: int = 96,
    **_,
) -> Counter:
    """MACs of one square image of `pixels` x `pixels` through the backbone, by what the backward
    pass makes of them (`recomputed_macs`):

        embed       of patches
        matrices    a kernel times all tokens, but for
        last        the MLP's second
        bottleneck  register attention's three steps, which are never kept
        batched     other products of each image by itself or each head by itself

    architecture: "rats", "vit" or "perceiver"; the rest as in the models, whose other options,
    which cost nothing, are ignored.
    """
    square = width**2
    patches = (pixels // patch) ** 2
    embed = Counter(embed=3 * patch**2 * width * patches)

    def block(tokens: int, context: int | None = None) -> Counter:
        context = tokens if context is None else context
        return Counter(
            matrices=2 * square * tokens + 2 * square * context + mlp_ratio * square * tokens,
            batched=2 * tokens * context * width,
            last=mlp_ratio * square * tokens,
        )

    if architecture == "vit":
        return embed + _times(depth, block(1 + patches + plain_registers))
    if architecture == "perceiver":
        inner = _times(depth - 2, block(latents))
        return embed + block(latents, patches) + inner + block(queries, latents)

    registers = registers_per_head * heads
    # Each head works with its own n registers, or with all N; d * heads = D.
    per_head = registers if sharing == "shared" else registers_per_head
    layer = Counter(
        matrices=(4 * patches + mlp_ratio * (patches + registers)) * square,
        bottleneck=4 * patches * per_head * width + 2 * per_head**2 * width,
        last=mlp_ratio * square * (patches + registers),
    )
    if sharing == "shared":
        layer["matrices"] += 2 * square * registers
    else:
        layer["batched"] += 2 * square // heads * registers
    if communicate == "learned":
        layer["bottleneck"] += 3 * per_head * square // heads
    if parallel != "none":
        layer["matrices"] += {"shared": 1, "separate": 4}[parallel] * square * patches
        layer["batched"] += 2 * patches**2 * width
    return embed + _times(depth, layer)


def _times(count: int, parts: Counter) -> Counter:
    return Counter({name: count * macs for name, macs in parts.items()})


def head_macs(*, width: int, hidden: int, bottleneck: int, prototypes: int, **_) -> int:
    """MACs of one global vector through the DINO head and its prototypes."""
    return width * hidden + hidden**2 + hidden * bottleneck + bottleneck * prototypes


def recomputed_macs(*, remat: str, **model: int | str) -> int:
    """MACs of a forward pass that the backward pass repeats under config.model.remat. Nobody asks
    for the result of the MLP's second product again. (A Perceiver's first and last block are not
    repeated, but counted.)"""
    parts = forward_parts(**model)
    again = {
        "none": ("bottleneck",),
        "dots": ("bottleneck", "batched"),
        "full": ("bottleneck", "batched", "matrices"),
    }[remat]
    return sum(parts[name] for name in again)


def training_flops(
    *, global_size: int, local_size: int, local_crops: int, **model: int | str
) -> int:
    """FLOPs of one training image: student forward and backward on all crops, teacher forward on
    the two global ones. Backbone only, the backward pass as twice the forward one."""
    large = forward_macs(pixels=global_size, **model)
    small = forward_macs(pixels=local_size, **model)
    return 2 * (3 * (2 * large + local_crops * small) + 2 * large)


def image_flops(*, crops: dict, model: dict, head: dict, losses: int = 1) -> dict[str, int]:
    """FLOPs of one training image, backbone and head, by part: "teacher", "student", "backward",
    and "recomputed", what the backward pass computes again (`recomputed_macs`).

    crops, model, head: the sections of a config. losses: global vectors of a crop.

    The backward pass is twice the forward one, but for the patches, which need no gradient.
    """
    views = {"global_size": 2, "local_size": crops["local_crops"]}
    projection = losses * head_macs(width=model["width"], **head)
    student = backward = again = 0
    for size, count in views.items():
        parts = forward_parts(pixels=crops[size], **model)
        macs = sum(parts.values()) + projection
        student += count * macs
        backward += count * (2 * macs - parts["embed"])
        again += count * recomputed_macs(pixels=crops[size], **model)
    teacher = 2 * (forward_macs(pixels=crops["global_size"], **model) + projection)
    parts = {"teacher": teacher, "student": student, "backward": backward, "recomputed": again}
    return {name: 2 * macs for name, macs in parts.items()}
