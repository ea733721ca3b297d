"""COCO's annotation files: their records, which records can be used, and where the images are."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rats_jax.errors import UserError
from rats_jax.parts.datasets.coco_images import ImageFinder
from rats_jax.parts.datasets.coco_values import identity, size_of
from rats_jax.parts.datasets.json_file import read_json
from rats_jax.parts.datasets.part_dataset import Size

_SPLIT = "val2017"
_MANY = 0.1  # a larger share of crowds gives a warning


class CocoImage(NamedTuple):
    """size: None if the file does not give it. alike: whether the image was found under a name with
    another case or ending."""

    name: str
    path: Path
    size: Size | None
    alike: bool


@dataclass(frozen=True)
class CocoFiles:
    """One annotation file, by image.

    Attributes:
      file: the JSON.
      split: such as val2017.
      root: the folder above `annotations`, or else the folder of the file.
      images: by id.
      annotations: records by image id, for listed images only.
      categories: names by id.
      left_out: the number of unused records by reason; readers add to it.
    """

    file: Path
    split: str
    root: Path
    images: dict[Hashable, CocoImage]
    annotations: dict[Hashable, list[dict]]
    categories: dict[Hashable, str]
    left_out: Counter[str]

    def notes(self, *, crowds: int, of: int, what: str) -> list[str]:
        """Notes on what was left out or found under another name, and on how many of the objects or
        segments are crowds.

        Raises:
          UserError: all are crowds, so that nothing is left to score.
        """
        notes = []
        if self.left_out:
            notes.append(f"warning: left out of {self.file}: {_counts(self.left_out)}")
        if alike := [image for image in self.images.values() if image.alike]:
            notes.append(
                f"{len(alike):,} images were found under names with another case or extension, "
                f"such as {alike[0].path} for {alike[0].name}"
            )
        if crowds:
            line = f"{crowds:,} of {of:,} {what} are crowds (iscrowd 1), which are void"
            advice = (
                "some tools, such as CVAT and pycococreator, write iscrowd 1 for every RLE: if "
                "these are single objects, set it to 0"
            )
            if crowds == of:
                raise UserError(f"{self.file}: {line}: nothing is left to score; {advice}")
            notes.append(f"warning: {line}; {advice}" if crowds > _MANY * of else line)
        return notes


def open_coco(path: Path, kind: str) -> CocoFiles:
    """Finds and reads `annotations/KIND_SPLIT.json`, KIND being instances or panoptic.

    Records that cannot be used are counted; the others are used.

    Args:
      path: the root (SPLIT is val2017), the folder of a split (`val2017`, `images/val2017`,
        `panoptic_val2017`), or the JSON.

    Raises:
      UserError: the file does not exist, is not JSON, does not have COCO's layout, or none of its
        images is found.
    """
    file, root, split = _find(path, kind)
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(
            f"{file} does not have the layout of COCO: it is not an object; download it again"
        )
    records = {name: _list(file, content, name) for name in ("images", "annotations")}
    left_out: Counter[str] = Counter()
    finder = ImageFinder([root / split, root / "images" / split, root / "images", root])
    images = _images(records["images"], finder, left_out)
    if not any(image.path.is_file() for image in images.values()):
        listed = f"{file} lists {len(records['images']):,} images"
        raise UserError(_no_image(listed, images, finder, left_out))
    aside, annotations = _aside(left_out), {}
    for record in records["annotations"]:
        image = identity(record.get("image_id")) if isinstance(record, dict) else None
        if image in images:
            annotations.setdefault(image, []).append(record)
        else:
            left_out["annotations of images that are left out or not listed"] += 1
    if records["annotations"] and not annotations:
        raise UserError(
            f"{file}: none of its {len(records['annotations']):,} annotations belongs to an image "
            f"that it lists and that is used{aside}: each image_id must be the id of such an image"
        )
    categories = {
        identity(record.get("id")): str(record.get("name", record.get("id")))
        for record in content.get("categories") or []
        if isinstance(record, dict)
    }
    return CocoFiles(file, split, root, images, annotations, categories, left_out)


def _list(file: Path, content: Mapping, name: str) -> list[Any]:
    if not isinstance(content.get(name), list):
        raise UserError(
            f"{file} does not have the layout of COCO: it has no list {name!r}; download it again"
        )
    return content[name]


def _images(
    records: Sequence[Any], finder: ImageFinder, left_out: Counter[str]
) -> dict[Hashable, CocoImage]:
    """The images by id, without those that share an id or a file with another image."""
    named = []
    home = next((folder for folder in finder.folders if folder.is_dir()), finder.folders[0])
    for record in records:
        record = record if isinstance(record, dict) else {}
        id, name = identity(record.get("id")), record.get("file_name") or record.get("coco_url")
        if id is None or not isinstance(name, str) or not name:
            left_out["images without an id (a number or text) or a file_name"] += 1
            continue
        named.append((id, name, size_of(record)))
    found, alike = finder.find_all(name for _, name, _ in named)
    paths = found | alike
    listed = [
        (id, CocoImage(name.replace("\\", "/"), paths.get(name, home / name), size, name in alike))
        for id, name, size in named
    ]
    listed = list(dict.fromkeys(listed))  # drops repeated records
    ids, files = Counter(id for id, _ in listed), Counter(image.path for _, image in listed)
    images = {id: image for id, image in listed if ids[id] == 1 and files[image.path] == 1}
    if doubled := [image for id, image in listed if id not in images]:
        why = "images that share their id or their file with another, such as "
        left_out[f"{why}{doubled[0].name} ({doubled[0].path})"] += len(doubled)
    return images


def _no_image(
    listed: str,
    images: Mapping[Hashable, CocoImage],
    finder: ImageFinder,
    left_out: Mapping[str, int],
) -> str:
    """The message that no image was found, with the reason and one of the expected files."""
    listed += _aside(left_out)
    if not images:
        return f"{listed}: none can be used; give each image its own id and its own file"
    first = next(iter(images.values()))
    near = finder.near(first.name)
    return (
        f"{listed}, and {'none of the others' if left_out else 'none'} is in "
        f"{', '.join(f'{folder}/' for folder in finder.folders)}; put them in one of these, such "
        f"as {first.path}" + (f", or, if {near} is this image, rename it" if near else "")
    )


def _aside(left_out: Mapping[str, int]) -> str:
    return f" (left out: {_counts(left_out)})" if left_out else ""


def _counts(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in left_out.items())


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
    files = sorted([*path.glob("annotations/*.json"), *path.glob("*.json")])
    files = files or sorted([*path.glob("*/*.json"), *path.glob("*/*/*.json")])
    there = [str(file.relative_to(path)) for file in files[:5]]
    raise UserError(
        f"{path} does not contain annotations/{kind}_{_SPLIT}.json"
        + (f", but {', '.join(there)}" if there else "")
        + "; give the folder that contains it, the folder of another split, or the JSON file "
        "itself" + (f", such as {path / there[0]}" if there else "")
    )
