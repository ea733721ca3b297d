"""The numbers of the paper (arXiv 2606.14701) that are known here, and where they are from.

The text of the paper was available only in part, without most of its tables. A number that is not
here is not known, and nothing is estimated in its place. The numbers of Table 4 are from an issue
of this project, which names RATS-B beside them; their data are not known.
"""

from typing import NamedTuple

FIVE_SETS = "five sets"  # COCO and ImageNet with SAM masks, ADE20K, ImageNet-S, PartImageNet
COCO_SAM = "COCO, SAM masks"
UNKNOWN = "data that are not known"


class PaperNumber(NamedTuple):
    """A value in the paper.

    experiment: such as "table 1". variant: which model, see `experiments.Variant`. measure: M2O,
    O2O and ARI are in percent; others name their unit. k: the number of regions; None if it is not
    known or there is none. on: which data.
    """

    experiment: str
    variant: str
    measure: str
    value: float
    k: int | None = None
    on: str = FIVE_SETS


PAPER = (
    PaperNumber("table 1", "RATS-S/16", "M2O", 37.15, 96),
    PaperNumber("table 1", "RATS-S/16", "ARI", 20.4, 6),
    PaperNumber("table 1", "RATS-S/16", "ARI", 21.7, 96),
    PaperNumber("table 1", "RATS-S/16", "M2O", 9.9, 6, COCO_SAM),
    PaperNumber("table 1", "RATS-S/16", "M2O", 17.3, 96, COCO_SAM),
    PaperNumber("table 1", "RATS-B/16", "M2O", 37.26, 33),
    PaperNumber("table 1", "RATS-B/16", "M2O", 39.54, 192),
    PaperNumber("table 1", "DINO ViT-B/16", "M2O", 21.65),
    PaperNumber("table 1", "DINOv3 ViT-B/16", "M2O", 26.41),
    PaperNumber("table 1", "AdaSlot", "M2O", 27.45),
    PaperNumber("table 3", "RATS-S/16", "times as fast as ViT-S/16", 2.12, on="512 px, a GPU"),
    PaperNumber("table 3", "RATS-S/16", "memory, GB", 0.49, on="512 px, a GPU"),
    PaperNumber("table 3", "ViT-S/16", "memory, GB", 1.08, on="512 px, a GPU"),
    PaperNumber("table 4", "8 registers per head", "M2O", 35.4, on=UNKNOWN),
    PaperNumber("table 4", "16 registers per head", "M2O", 36.6, on=UNKNOWN),
    PaperNumber("figure 6", "RATS-S/16", "GMAC", 360, on="2048 px"),
    PaperNumber("figure 6", "ViT-S/16", "GMAC", 2800, on="2048 px"),
    PaperNumber("figure 6", "RATS-B/16", "GMAC", 1420, on="2048 px"),
    PaperNumber("figure 6", "ViT-B/16", "GMAC", 6300, on="2048 px"),
)

#: Figure 8 is known in words only.
PEAK = "highest at epoch 160 to 180, then lower"


def find(experiment: str, variant: str, measure: str, **where: int | str | None) -> float | None:
    """The paper's value; None if it is not known. where: values of `k` and `on` that must agree."""
    for number in PAPER:
        if number[:3] == (experiment, variant, measure) and all(
            getattr(number, name) == value for name, value in where.items()
        ):
            return number.value
    return None
