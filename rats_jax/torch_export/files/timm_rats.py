"""The encoder in this folder as a model of timm (1.0 or later):

    sys.path.insert(0, "EXPORT")
    import timm, timm_rats

    model = timm.create_model("rats", pretrained=True)                  # vectors [B, D]
    model = timm.create_model("rats", pretrained=True, num_classes=10)  # and a fresh classifier
    maps = timm.create_model("rats", pretrained=True, features_only=True, out_indices=[5, 11])

Images are RGB, normalised as `timm.data.resolve_model_data_config(model)` says.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from modeling_rats import Features, build, load
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "config.json").read_text())
OPTIONS = CONFIG["options"]
default_cfgs = {
    "rats": {
        "file": str(HERE / "model.safetensors"),
        "input_size": (3, OPTIONS["image_size"], OPTIONS["image_size"]),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 224 / 256,
        "mean": tuple(CONFIG["image_mean"]),
        "std": tuple(CONFIG["image_std"]),
        "num_classes": 0,
        "first_conv": "encoder.patch_embed.proj",
        "classifier": "head",
    }
}


class Rats(nn.Module):
    """Tokens are, in timm's order, the global vector, the registers, then the patches.

    weights: those in this folder; else a fresh encoder. global_pool: "token" for the global vector,
    "avg" for the mean of the patches, "" for all tokens. drop_rate: before the classifier.
    """

    def __init__(
        self,
        weights: bool = False,
        num_classes: int = 0,
        global_pool: str = "token",
        drop_rate: float = 0.0,
        in_chans: int = 3,
    ):
        super().__init__()
        if in_chans != 3:
            raise ValueError(f"images have 3 channels, not {in_chans}")
        self.encoder = load(HERE) if weights else build(OPTIONS)  # strict
        width, depth = self.encoder.embed_dim, self.encoder.depth
        self.embed_dim = self.num_features = self.head_hidden_size = width
        self.num_prefix_tokens = 1 + registers_of(self.encoder)
        self.feature_info = [
            {"module": f"encoder.blocks.{i}", "num_chs": width, "reduction": OPTIONS["patch"]}
            for i in range(depth)
        ]
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh classifier, or none for 0 classes."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
        new = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.head = new.to(self.encoder.norm.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised images [B, 3, height, width] -> tokens [B, 1 + N + L, D]."""
        return tokens_of(self.encoder(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens -> [B, classes]; before the classifier [B, D]."""
        if self.global_pool:
            x = x[:, 0] if self.global_pool == "token" else x[:, self.num_prefix_tokens :].mean(1)
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = True,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Patches of the layers asked for (an int: so many last), [B, D, h, w] or, as "NLC",
        [B, L, D]; before them the tokens of the last. All of them go through the final norm."""
        layers = list(self.encoder.each_layer(x))
        last = layers[-1]
        if isinstance(indices, int):
            layers = layers[-indices:]
        elif indices is not None:
            layers = [layers[i] for i in indices]
        maps = [layer.patches for layer in layers]
        if output_fmt == "NCHW":
            maps = [map_.transpose(1, 2).unflatten(2, self.encoder.grid(x)) for map_ in maps]
        return maps if intermediates_only else (tokens_of(last), maps)


def registers_of(encoder: nn.Module) -> int:
    """N; the registers of a Perceiver are its output queries."""
    registers = getattr(encoder, "queries", getattr(encoder, "registers", None))
    return 0 if registers is None else registers.shape[1]


def tokens_of(features: Features) -> Tensor:
    """[B, 1 + N + L, D]"""
    parts = features.global_vector[:, None], features.registers, features.patches
    return torch.cat(parts, dim=1)


@register_model
def rats(pretrained: bool = False, **options) -> nn.Module:
    """What timm.create_model("rats") calls. The weights are loaded here: timm would let tensors be
    absent once there is a classifier."""
    return build_model_with_cfg(
        Rats,
        "rats",
        pretrained=False,
        feature_cfg={"feature_cls": "getter", "out_indices": 3},
        weights=pretrained,
        **options,
    )
