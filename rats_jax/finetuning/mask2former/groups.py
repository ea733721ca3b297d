"""Groups of parameters for AdamW, as the recipes of MMSegmentation and MMDetection have them.

Rates: the backbone has `optimizer.backbone_rate` times the learning rate. With `layer_decay` < 1,
block i of n (from 0) has in addition the factor layer_decay^(n - i), and what is before the blocks
layer_decay^(n + 1). The final norm of the backbone has only the former factor; the pyramid and the
decoder have none.

Decay: none for norms, layer scales, and the embeddings that recipes name: queries and their
positions, levels, and of the backbone positions, [CLS] and registers. All else decays, biases too.
"""

import re
from collections.abc import Iterator

from ml_collections import ConfigDict
from torch import Tensor, nn

from rats_jax.finetuning.mask2former.model import Segmenter

#: Last parts of the names of parameters without weight decay, besides those of norms.
EMBEDDINGS = ("pos_embed", "cls_token", "registers", "latents", "queries", "level_embed", "gamma")
NORMS = (nn.LayerNorm, nn.GroupNorm)
BACKBONE = "network.model.pixel_level_module.encoder.encoder."


def parameter_groups(model: Segmenter, config: ConfigDict) -> list[dict]:
    """Groups for torch.optim.AdamW: {"params", "names", "lr", "weight_decay", "factor"}, "lr" being
    `factor` times config.optimizer.learning_rate. Every trainable parameter is in exactly one
    group; those of a frozen backbone are in none."""
    optimizer, depth = config.optimizer, model.backbone.depth
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter, decays in trained(model):
        factor = 1.0
        if name.startswith(BACKBONE):
            own = name.removeprefix(BACKBONE)
            factor = optimizer.backbone_rate * optimizer.layer_decay ** distance(own, depth)
        decay = optimizer.weight_decay if decays else 0.0
        group = groups.setdefault((factor, decay), {"params": [], "names": []})
        group["params"].append(parameter)
        group["names"].append(name)
    return [
        group | {"lr": factor * optimizer.learning_rate, "weight_decay": decay, "factor": factor}
        for (factor, decay), group in groups.items()
    ]


def trained(model: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    """Names and values of trainable parameters, and whether they decay."""
    seen = set()
    for path, module in model.named_modules():
        embeds = isinstance(module, (*NORMS, nn.Embedding))
        for last, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{path}.{last}", parameter, not (embeds or last in EMBEDDINGS)


def distance(name: str, depth: int) -> int:
    """How many layers of a backbone's parameter are above it, with the final norm as the last."""
    if found := re.match(r"blocks\.(\d+)\.", name):
        return depth - int(found[1])
    return 0 if name.startswith("norm.") else depth + 1
