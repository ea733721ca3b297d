"""Matching and losses of Mask2Former: transformers' own, in float32, also without any object.

Pixels of no class (void) and padding are outside of every mask, as in Mask2Former's own code,
MMSegmentation and MMDetection: no point is left out of the losses for them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerLoss,
    dice_loss,
    sample_point,
    sigmoid_cross_entropy_loss,
)

Indices = list[tuple[Tensor, Tensor]]  # of each image: queries, and the targets they are matched to


class Losses(nn.Module):
    """The weighted losses, summed over all layers of the decoder."""

    def __init__(self, config: Mask2FormerConfig):
        super().__init__()
        self.weights = {
            "loss_cross_entropy": config.class_weight,
            "loss_mask": config.mask_weight,
            "loss_dice": config.dice_weight,
        }
        self.criterion = Criterion(config, self.weights)

    def forward(self, outputs, targets: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """{"loss": of these images, and its parts "loss_class", "loss_mask" and "loss_dice"}. The
        parts have gradients, for training that weighs them by the masks of a larger batch.

        outputs: of the network. targets: for each image, masks bool [M, H, W] and classes long [M].
        """
        masks, classes = zip(*targets, strict=True)
        losses = self.criterion(
            outputs.masks_queries_logits,
            outputs.class_queries_logits,
            list(masks),
            list(classes),
            outputs.auxiliary_logits,
        )
        sums = {
            kind: weight * sum(value for name, value in losses.items() if name.startswith(kind))
            for kind, weight in self.weights.items()
        }
        parts = {
            "loss_class": sums["loss_cross_entropy"],
            "loss_mask": sums["loss_mask"],
            "loss_dice": sums["loss_dice"],
        }
        return {"loss": sum(parts.values())} | parts


class Matcher(Mask2FormerHungarianMatcher):
    """transformers' matcher, one image at a time: an image without objects matches nothing."""

    def forward(self, mask_logits, class_logits, masks, classes) -> Indices:
        nothing = torch.zeros(0, dtype=torch.int64)
        return [
            super(Matcher, self).forward(
                mask_logits[i : i + 1], class_logits[i : i + 1], [masks[i]], [classes[i]]
            )[0]
            if len(classes[i])
            else (nothing, nothing)
            for i in range(len(classes))
        ]


class Criterion(Mask2FormerLoss):
    """transformers' losses. Differences: float32 whatever the precision of the network; masks stay
    bool until they are sampled, one image at a time; a batch without objects has mask losses of 0;
    mask losses are divided by the masks of these images, also in one process of several, whose
    losses the caller combines (transformers divides by their number over processes twice).
    """

    def __init__(self, config: Mask2FormerConfig, weights: dict[str, float]):
        super().__init__(config, weights)
        own = self.matcher
        self.matcher = Matcher(
            cost_class=own.cost_class,
            cost_mask=own.cost_mask,
            cost_dice=own.cost_dice,
            num_points=own.num_points,
        )

    def forward(
        self,
        masks_queries_logits: Tensor,
        class_queries_logits: Tensor,
        mask_labels: list[Tensor],
        class_labels: list[Tensor],
        auxiliary_predictions: Sequence[dict[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        with torch.autocast(masks_queries_logits.device.type, enabled=False):
            return super().forward(
                masks_queries_logits.float(),
                class_queries_logits.float(),
                mask_labels,
                class_labels,
                auxiliary_predictions,
            )

    def loss_masks(
        self, mask_logits: Tensor, masks: list[Tensor], indices: Indices, num_masks: Tensor
    ) -> dict[str, Tensor]:
        predicted = mask_logits[self._get_predictions_permutation_indices(indices)][:, None]
        if not len(predicted):
            nothing = 0 * mask_logits.sum()  # every parameter still has a gradient
            return {"loss_mask": nothing, "loss_dice": nothing}
        with torch.no_grad():
            points = self.sample_points_using_uncertainty(
                predicted,
                self.calculate_uncertainty,
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            parts = points.split([len(chosen) for _, chosen in indices])
            labels = torch.cat(
                [
                    sample_point(own[chosen][:, None].float(), part, align_corners=False)[:, 0]
                    for own, (_, chosen), part in zip(masks, indices, parts, strict=True)
                    if len(chosen)
                ]
            )
        logits = sample_point(predicted, points, align_corners=False)[:, 0]
        return {
            "loss_mask": sigmoid_cross_entropy_loss(logits, labels, num_masks),
            "loss_dice": dice_loss(logits, labels, num_masks),
        }

    def get_num_masks(self, class_labels: Sequence[Tensor], device: torch.device) -> Tensor:
        """The number of masks of these images, at least 1."""
        return torch.tensor(float(sum(map(len, class_labels))), device=device).clamp(min=1)
