"""Mask2Former on an encoder of modeling_rats.py, as classes of transformers (5.0 or later):

    from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

    processor = AutoImageProcessor.from_pretrained("EXPORT")
    model = AutoModelForUniversalSegmentation.from_pretrained("EXPORT", trust_remote_code=True)
    outputs = model(**processor(image, return_tensors="pt"))
    processor.post_process_semantic_segmentation(outputs, target_sizes=[(height, width)])

Shape letters: B images, D width of the encoder, C width of the decoder, N registers.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
from transformers import initialization as init
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

from .rats_pyramid import RatsPyramidConfig


class RatsMask2FormerConfig(Mask2FormerConfig):
    """config.json. queries: "registers" (one query for each register of the encoder, made of it)
    or "learned"."""

    model_type = "rats_mask2former"
    backbones_supported = [RatsPyramidConfig.model_type]

    def __init__(self, queries="learned", **others):
        super().__init__(**others)
        self.queries = queries


class PixelDecoder(Mask2FormerPixelDecoder):
    """transformers' pixel decoder without mixed precision, as in the original code: half precision
    cannot express the points that deformable attention samples."""

    def forward(self, features: tuple[Tensor, ...], **others):
        with torch.autocast(features[0].device.type, enabled=False):
            return super().forward([x.to(self.level_embed.dtype) for x in features], **others)


class RegisterQueries(nn.Module):
    """Registers [B, N, D], after the final norm of the encoder, to initial query features
    [N, B, C]: Linear(LN(registers))."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.projection = nn.Linear(width, outputs)

    def forward(self, registers: Tensor) -> Tensor:
        return self.projection(self.norm(registers)).transpose(0, 1)


class NotLearned(nn.Module):
    """Takes the place of learned query features, whose shape transformers' module still asks for.
    Nothing reads the values."""

    def __init__(self, queries: int, outputs: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(queries, outputs), persistent=False)


class RatsMask2Former(Mask2FormerForUniversalSegmentation):
    """transformers' Mask2Former, with registers as queries if the config says so."""

    config_class = RatsMask2FormerConfig

    def __init__(self, config: RatsMask2FormerConfig):
        super().__init__(config)
        pixels = self.model.pixel_level_module
        pixels.decoder = PixelDecoder(config, feature_channels=pixels.encoder.channels)
        self.register_queries = None
        if config.queries == "registers":
            shape = config.num_queries, config.hidden_dim
            self.model.transformer_module.queries_features = NotLearned(*shape)
            width = config.backbone_config.hidden_size
            self.register_queries = RegisterQueries(width, config.hidden_dim)
        self.post_init()

    def forward(self, pixel_values: Tensor, *args, **others):
        """As transformers' own: normalised images, sides multiples of twice the patch."""
        if self.register_queries is None:
            return super().forward(pixel_values, *args, **others)
        with self.queries_from_registers():
            return super().forward(pixel_values, *args, **others)

    @contextmanager
    def queries_from_registers(self) -> Iterator[None]:
        """Within it, the decoder starts from the registers of the images that the encoder saw last:
        transformers has no argument for queries that depend on the image."""
        queries = {}

        def keep(_, args, output):
            queries["inputs_embeds"] = self.register_queries(output.registers)

        def replace(_, args, others):
            return args, others | queries

        encoder = self.model.pixel_level_module.encoder
        decoder = self.model.transformer_module.decoder
        hooks = (
            encoder.register_forward_hook(keep),
            decoder.register_forward_pre_hook(replace, with_kwargs=True),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @classmethod
    def is_custom_code(cls) -> bool:
        """No: in classes outside of its package, transformers leaves modules without parameters of
        their own as PyTorch starts them (such as whole layers of the decoder)."""
        return False

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, RegisterQueries):  # as large as learned queries, which are normal
            init.xavier_uniform_(module.projection.weight)
            init.zeros_(module.projection.bias)
