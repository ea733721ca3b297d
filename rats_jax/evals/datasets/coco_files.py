"""COCO's annotation files, and the folders of images that they speak of."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rats_jax.errors import UserError
from rats_jax.evals.datasets.json_file import read_json
from rats_jax.evals.datasets.part_dataset import Size

_SPLIT = "val2017"


# What reading a file raises that is JSON and not COCO's.
MALFORMED = (LookupError, TypeError, ValueError, OverflowError)


class CocoImage(NamedTuple):
    name: str
    size: Size


@dataclass(frozen=True)
class CocoFiles:
    """One annotation file, by image.

    Attributes:
      file: the JSON.
      split: such as val2017.
      root: the folder above `annotations`, or the file's own.
      folder: the images'.
      images: by id.
      annotations: records by image id, which may be missing in `images`.
      categories: names by id.
    """

    file: Path
    split: str
    root: Path
    folder: Path
    images: dict[int, CocoImage]
    annotations: dict[int, list[dict]]
    categories: dict[int, str]

    def unlisted(self, image: int) -> str:
        """What is wrong where an annotation's image is not among the images."""
        return (
            f"{self.file} annotates image id {image}, which its images do not list; add it, or "
            "remove the annotation"
        )


def open_coco(path: Path, kind: str) -> CocoFiles:
    """Finds and reads `annotations/KIND_SPLIT.json`, KIND being instances or panoptic.

    Args:
      path: the root (SPLIT is val2017), the folder of a split (`val2017`, `images/val2017`,
        `panoptic_val2017`), or the JSON.

    Raises:
      UserError: it is not there, not JSON, not COCO's, or its images are nowhere.
    """
    file, root, split = _find(path, kind)
    content = read_json(file)
    try:
        images = {
            int(i["id"]): CocoImage(str(i["file_name"]), (int(i["height"]), int(i["width"])))
            for i in content["images"]
        }
        annotations = defaultdict(list)
        for annotation in content["annotations"]:
            annotations[int(annotation["image_id"])].append(annotation)
        categories = {int(c["id"]): str(c["name"]) for c in content["categories"]}
    except MALFORMED as error:
        raise UserError(not_coco(file, error)) from error
    folders = [root / split, root / "images" / split, root / "images", root]
    for folder in folders:
        if any((folder / image.name).is_file() for image in images.values()):
            break
    else:
        raise UserError(
            f"{file} lists {len(images)} images, and none is in "
            f"{', '.join(f'{f}/' for f in folders)}; put them in one of these"
        )
    return CocoFiles(file, split, root, folder, images, dict(annotations), categories)


def not_coco(file: Path, error: Exception) -> str:
    """What is wrong with a file that lacks a field."""
    return f"{file} is not laid out as COCO's ({type(error).__name__}: {error}); get it again"


def _find(path: Path, kind: str) -> tuple[Path, Path, str]:
    if path.is_file():
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        return path, root, path.stem.removeprefix(f"{kind}_")
    split = path.name.removeprefix("panoptic_")
    roots = [(path, _SPLIT), (path.parent, split), (path.parent.parent, split)]
    for root, split in roots:
        file = root / "annotations" / f"{kind}_{split}.json"
        if file.is_file():
            return file, root, split
    raise UserError(
        f"{path} does not hold annotations/{kind}_{_SPLIT}.json; give the folder that does, the "
        "folder of another split, or the JSON itself"
    )
