"""Multiply-accumulates of a forward pass, counted by hand, in the minimal form.

A compiler's own count sees a scanned block once, so utilisation is measured against these. Products
only: norms, softmax and activations are left out (under 1 % at these widths).
"""


def forward_macs(
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
) -> int:
    """MACs of one square image of `pixels` x `pixels` through the backbone.

    architecture: "rats", "vit" or "perceiver"; the rest as in the models, whose other options,
    which cost nothing, are ignored.
    """
    square = width**2
    patches = (pixels // patch) ** 2
    embed = 3 * patch**2 * width * patches

    def block(tokens: int, context: int | None = None) -> int:
        context = tokens if context is None else context
        projections = 2 * square * tokens + 2 * square * context
        return projections + 2 * tokens * context * width + 2 * mlp_ratio * square * tokens

    if architecture == "vit":
        return embed + depth * block(1 + patches + plain_registers)
    if architecture == "perceiver":
        inner = (depth - 2) * block(latents)
        return embed + block(latents, patches) + inner + block(queries, latents)

    registers = registers_per_head * heads
    # Each head works with its own n registers, or with all N; d * heads = D.
    per_head = registers if sharing == "shared" else registers_per_head
    slice_ = square if sharing == "shared" else square // heads
    layer = 4 * square * patches + 2 * slice_ * registers
    layer += 4 * patches * per_head * width + 2 * per_head**2 * width
    layer += 2 * mlp_ratio * square * (patches + registers)
    if communicate == "learned":
        layer += 3 * per_head * square // heads
    if parallel != "none":
        projections = {"shared": 1, "separate": 4}[parallel] * square * patches
        layer += projections + 2 * patches**2 * width
    return embed + depth * layer


def training_flops(
    *, global_size: int, local_size: int, local_crops: int, **model: int | str
) -> int:
    """FLOPs (2 per MAC) of one training image: student forward and backward on all crops, teacher
    forward on the two global ones. Backbone only."""
    large = forward_macs(pixels=global_size, **model)
    small = forward_macs(pixels=local_size, **model)
    return 2 * (3 * (2 * large + local_crops * small) + 2 * large)
