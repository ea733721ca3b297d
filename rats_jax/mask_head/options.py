"""The settings of the heads, the losses and the optimizer, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """Of the mask head.

    width: E, of mask embeddings and pixel features. upscale: a power of 2, by which the grid of
    patches is refined. supervised: after how many last blocks masks are predicted and trained; the
    last block is always one of them.
    """

    width: int = 256
    upscale: int = 4
    supervised: int = 4

    def __post_init__(self):
        if self.upscale < 1 or self.upscale & (self.upscale - 1):
            raise ValueError(f"upscale is a power of 2, not {self.upscale}")
        if self.supervised < 1:
            raise ValueError(f"supervised is 1 or more, not {self.supervised}")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """As in Mask2Former.

    class_weight, mask_weight, dice_weight: of the three losses, and of the three costs of matching.
    no_object: weight of a query without target in the class loss. points: where masks are compared,
    of an image. oversample, importance: `importance` of these points are the most uncertain of
    `oversample` times as many.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object: float = 0.1
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75

    @property
    def candidates(self) -> int:
        """The points of which the most uncertain are taken."""
        return int(self.points * self.oversample)

    @property
    def uncertain(self) -> int:
        """How many of the candidates are taken."""
        return int(self.points * self.importance)


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Of AdamW.

    backbone_rate: factor on the learning rate of the backbone. layer_decay: a further factor for
    each layer below the last one. clip: largest norm of the gradient of all parameters; 0 for no
    limit. frozen: whether the backbone stays as it is.
    """

    backbone_rate: float = 0.1
    layer_decay: float = 1.0
    weight_decay: float = 0.05
    clip: float = 0.01
    frozen: bool = False
