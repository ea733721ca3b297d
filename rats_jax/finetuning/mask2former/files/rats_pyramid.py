"""An encoder of modeling_rats.py with a feature pyramid, as a backbone of transformers.

Importing this file registers it, so that `AutoBackbone.from_config` makes it. Shape letters: B
images, D width of the encoder, C channels of the pyramid, N registers.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoBackbone, AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from .modeling_rats import build

LEVELS = ("fine", "middle", "patches", "coarse")


class RatsPyramidConfig(BackboneConfigMixin, PretrainedConfig):
    """The encoder and its pyramid.

    options: what `modeling_rats.build` takes. channels: C, of every level.
    """

    model_type = "rats_pyramid"

    def __init__(self, options=None, channels=256, out_features=None, out_indices=None, **others):
        super().__init__(**others)
        self.options = dict(options or {})
        self.channels = channels
        self.hidden_size = self.options.get("width")
        self.stage_names = list(LEVELS)
        self.set_output_features_output_indices(out_features or list(LEVELS), out_indices)


@dataclass
class PyramidOutput(BackboneOutput):
    """feature_maps: four of [B, C, height, width]. registers: [B, N, D]."""

    registers: Tensor | None = None


class RatsPyramid(BackboneMixin, PreTrainedModel):
    """An encoder with the simple feature pyramid of ViTDet (arXiv 2203.16527): all levels are made
    of the last patch tokens. Their strides are 1/4, 1/2, 1 and 2 times the patch; for a patch of
    16 pixels they are 4, 8, 16 and 32."""

    config_class = RatsPyramidConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    has_attentions = False
    supports_gradient_checkpointing = True

    def __init__(self, config: RatsPyramidConfig):
        super().__init__(config)
        self.num_features = [config.channels] * len(LEVELS)
        self.encoder = build(config.options)
        width = config.hidden_size
        half, quarter = width // 2, width // 4
        fine = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, stride=2),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        middle = nn.ConvTranspose2d(width, half, 2, stride=2)
        resized = (
            (fine, quarter),
            (middle, half),
            (nn.Identity(), width),
            (nn.MaxPool2d(2, 2), width),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(resize, *level(inputs, config.channels)) for resize, inputs in resized
        )
        self.gradient_checkpointing = False
        self.post_init()

    def forward(self, pixel_values: Tensor, **_) -> PyramidOutput:
        """Normalised images [B, 3, height, width], sides multiples of twice the patch."""
        encoder, images = self.encoder, pixel_values.to(self.dtype)
        tokens = encoder.embed(images)
        for i in range(encoder.depth):
            if self.gradient_checkpointing and self.training:
                tokens = checkpoint(encoder.layer, i, tokens, use_reentrant=False)
            else:
                tokens = encoder.layer(i, tokens)
        features = encoder.features(tokens)
        patches = features.patches.transpose(1, 2).unflatten(2, encoder.grid(images))
        maps = tuple(level(patches) for level in self.levels)
        return PyramidOutput(feature_maps=maps, registers=features.registers)

    def _init_weights(self, module):
        """Nothing: `build` has initialised the encoder, and PyTorch the pyramid."""


def level(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """What every level of the pyramid ends with."""
    return (
        nn.Conv2d(inputs, outputs, 1, bias=False),
        ChannelNorm(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        ChannelNorm(outputs),
    )


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel, [B, C, height, width]."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2)


AutoConfig.register("rats_pyramid", RatsPyramidConfig, exist_ok=True)
AutoBackbone.register(RatsPyramidConfig, RatsPyramid, exist_ok=True)
