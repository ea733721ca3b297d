"""The model of `rats finetune --decoder=mask2former`: a backbone of rats_jax, a feature pyramid,
and transformers' Mask2Former."""

from collections.abc import Sequence

import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from rats_jax.backbones import Backbone
from rats_jax.errors import UserError
from rats_jax.finetuning.mask2former.backbone import fine_tuned
from rats_jax.finetuning.mask2former.drop_path import add_drop_path
from rats_jax.finetuning.mask2former.files.rats_mask2former import (
    RatsMask2Former,
    RatsMask2FormerConfig,
)
from rats_jax.finetuning.mask2former.files.rats_pyramid import RatsPyramidConfig
from rats_jax.finetuning.mask2former.losses import Losses
from rats_jax.models.options import Options
from rats_jax.voice import say

GROUPS = 32  # of transformers' group norms


class Segmenter(nn.Module):
    """Images to class logits and mask logits, and losses.

    network: the model of an export, from normalised images. multiple: sides of images are padded to
    multiples of it, twice the patch.
    """

    def __init__(
        self, config: RatsMask2FormerConfig, *, mean: Sequence[float], std: Sequence[float]
    ):
        super().__init__()
        self.network = RatsMask2Former(config)
        self.losses = Losses(config)
        self.multiple = 2 * self.backbone.patch_size
        for name, values in (("mean", mean), ("std", std)):
            values = torch.tensor([float(x) for x in values]).reshape(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    @property
    def pyramid(self) -> nn.Module:
        """The backbone with its pyramid."""
        return self.network.model.pixel_level_module.encoder

    @property
    def backbone(self) -> nn.Module:
        """The backbone alone, of modeling_rats.py."""
        return self.pyramid.encoder

    def forward(
        self, images: Tensor, targets: Sequence[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor] | None]:
        """Images [B, 3, H, W] in 0..255, and of each image its masks bool [M, H, W] and classes
        long [M] (M may be 0).

        Returns, float32, class logits [B, Q, C + 1], the last for no object; mask logits
        [B, Q, h, w] of the images without padding, one for every patch / 4 pixels; and the losses
        (see `Losses`), if there are targets.
        """
        height, width = images.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        normalised = (images / 255 - self.mean) / self.std
        outputs = self.network(F.pad(normalised, padding), output_auxiliary_logits=True)
        losses = None
        if targets is not None:
            padded = [(F.pad(masks, padding), classes) for masks, classes in targets]
            losses = self.losses(outputs, padded)
        masks = without_padding(outputs.masks_queries_logits, (height, width), padding)
        return outputs.class_queries_logits.float(), masks.float(), losses


def without_padding(masks: Tensor, size: tuple[int, int], padding: tuple[int, ...]) -> Tensor:
    """The part [B, Q, h, w] of mask logits that shows the image. If its border is between two
    points of the masks, they are resized to the padded image first."""
    padded = size[0] + padding[3], size[1] + padding[1]
    (rows, between_rows), (columns, between_columns) = (
        divmod(shown * points, pixels)
        for shown, points, pixels in zip(size, masks.shape[2:], padded, strict=True)
    )
    if between_rows or between_columns:
        masks = F.interpolate(masks, size=padded, mode="bilinear", align_corners=False)
        rows, columns = size
    return masks[..., :rows, :columns]


def make_model(backbone: Backbone, config: ConfigDict, *, classes: Sequence[str]) -> Segmenter:
    """The model with the weights of a backbone; all else starts at random, from torch's generator.

    config: that of `rats finetune`. classes: names of the classes. Reports what is new.

    Raises:
      UserError: the backbone or a field does not suit Mask2Former.
    """
    check(config, backbone.options)
    options, state, new = fine_tuned(
        backbone, parallel=config.model.parallel, start=config.model.parallel_start
    )
    model = Segmenter(
        network_config(config, options, classes), mean=backbone.mean, std=backbone.std
    )
    model.backbone.load_state_dict(state)  # strict, and last: transformers starts all at random
    if config.model.drop_path:
        add_drop_path(model.backbone, config.model.drop_path)
    if config.model.freeze == "backbone":
        model.backbone.requires_grad_(False)
    model.pyramid.gradient_checkpointing = config.model.remat != "none"
    say(report(model, config, new))
    return model


def check(config: ConfigDict, options: Options) -> None:
    """Raises UserError for fields that the model cannot have."""
    if config.decoder.queries == "learned" and not options.registers_in_every_layer:
        raise UserError(
            f"--queries=learned needs patches that layers change, and those of a {options.title} "
            "stay as they are: choose --queries=registers, or another checkpoint"
        )
    if config.decoder.width % GROUPS:
        raise UserError(
            f"config.decoder.width={config.decoder.width} must be a multiple of {GROUPS} for "
            "--decoder=mask2former, whose norms have as many groups"
        )


def network_config(
    config: ConfigDict, options: Options, classes: Sequence[str]
) -> RatsMask2FormerConfig:
    """The config of transformers, from ours."""
    decoder, loss = config.decoder, config.loss
    from_registers = decoder.queries == "registers"
    return RatsMask2FormerConfig(
        queries=decoder.queries,
        num_queries=options.registers if from_registers else decoder.learned_queries,
        backbone_config=RatsPyramidConfig(options=options.asdict(), channels=decoder.width),
        id2label=dict(enumerate(classes)),
        label2id={name: i for i, name in enumerate(classes)},
        feature_size=decoder.width,
        mask_feature_size=decoder.width,
        hidden_dim=decoder.width,
        encoder_layers=decoder.pixel_layers,
        decoder_layers=decoder.layers + 1,  # it counts the predictions, also before the first layer
        num_attention_heads=decoder.heads,
        dim_feedforward=decoder.feedforward,
        encoder_feedforward_dim=decoder.pixel_feedforward,
        class_weight=loss.class_weight,
        mask_weight=loss.mask_weight,
        dice_weight=loss.dice_weight,
        no_object_weight=loss.no_object,
        train_num_points=loss.points,
        oversample_ratio=loss.oversample,
        importance_sample_ratio=loss.importance,
    )


def report(model: Segmenter, config: ConfigDict, new: Sequence[str]) -> str:
    """Which parameters the model has, and which are new."""
    total, backbone = (
        sum(parameter.numel() for parameter in part.parameters())
        for part in (model.network, model.backbone)
    )
    added = sum(model.backbone.get_parameter(name).numel() for name in new)
    queries = model.network.config.num_queries
    kind = "learned queries" if config.decoder.queries == "learned" else "registers as queries"
    text = f"Mask2Former with {queries} {kind}: {total:,} parameters, "
    text += f"{backbone - added:,} of them from the checkpoint"
    if new:
        text += f", {added:,} of a second set of attention projections made of the first"
    return text
