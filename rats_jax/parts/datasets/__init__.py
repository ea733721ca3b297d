"""Images with ground-truth parts, read from users' files: `open_dataset("KIND:PATH")`."""

from rats_jax.data.kinds import kind_and_place
from rats_jax.errors import UserError
from rats_jax.parts.datasets.coco_instances import open_coco_instances
from rats_jax.parts.datasets.coco_panoptic import open_coco_panoptic
from rats_jax.parts.datasets.drawings import open_composites, open_drawings
from rats_jax.parts.datasets.keypoints import SPLITS as KEYPOINT_SPLITS
from rats_jax.parts.datasets.keypoints import open_cub, open_nabirds
from rats_jax.parts.datasets.label_images import (
    open_ade20k,
    open_folder,
    open_imagenet_s,
    open_partimagenet,
)
from rats_jax.parts.datasets.part_dataset import VOID, Labelled, PartDataset
from rats_jax.parts.datasets.pascal_part import SPLITS as VOC_SPLITS
from rats_jax.parts.datasets.pascal_part import open_pascal_part
from rats_jax.parts.datasets.sam import open_sam
from rats_jax.paths import local_path, printable

__all__ = [
    "DRAWN",
    "KINDS",
    "POINTS",
    "SAME_IDS",
    "VOID",
    "Labelled",
    "PartDataset",
    "open_dataset",
]

DRAWN = {"procedural_parts": open_drawings, "composites": open_composites}  # without files
KINDS = {
    "folder": open_folder,
    "ade20k": open_ade20k,
    "coco-panoptic": open_coco_panoptic,
    "coco-instances": open_coco_instances,
    "imagenet-s": open_imagenet_s,
    "partimagenet": open_partimagenet,
    "sam": open_sam,
    "pascal-part": open_pascal_part,
    "cub": open_cub,
    "nabirds": open_nabirds,
    **DRAWN,
}
#: Kinds whose ids mean the same part in every image.
SAME_IDS = (
    *("folder", "ade20k", "imagenet-s", "partimagenet", "pascal-part", "cub", "nabirds"),
    *DRAWN,
)
POINTS = "cub", "nabirds"  # kinds of keypoints
#: Kinds whose splits are lists of images -> splits, which follow the root in a path.
SPLITS = {"pascal-part": VOC_SPLITS, "cub": KEYPOINT_SPLITS, "nabirds": KEYPOINT_SPLITS}


def open_dataset(spec: str, *, points: bool = False) -> PartDataset:
    """Opens KIND:PATH, where PATH is the root of the unpacked files, or the folder of one split;
    or COUNT@SEED for drawings.

    Lists the files, and reads COCO's annotations; images and masks are read by `sample`.

    points: whether data sets of keypoints are accepted, see `PartDataset.points`.

    Raises:
      UserError: the kind is unknown, or the files do not have the layout of this kind; or the data
        set has keypoints, and these are not accepted.
    """
    kind, place = kind_and_place(spec, wanted="part masks")
    if kind in POINTS and not points:
        raise UserError(
            f"{spec}: {kind} has keypoints instead of part masks: --task=consistency and rats "
            "dictionary accept them"
        )
    if kind in DRAWN:
        return DRAWN[kind](place)
    path = local_path(place).absolute()
    try:
        splits = SPLITS.get(kind, ())
        if not path.exists() and not (path.name in splits and path.parent.exists()):
            of_root = f" (the splits are PATH/{', PATH/'.join(splits)})" if splits else ""
            raise UserError(
                f"dataset {spec}: {path} does not exist; give the path to its files{of_root}"
            )
        return KINDS[kind](path)
    except UserError as error:
        raise UserError(printable(str(error))) from error  # names may contain line breaks
    except OSError as error:
        raise UserError(printable(f"{spec}: {path} cannot be read ({error.strerror})")) from error
