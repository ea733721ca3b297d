"""Which folders hold a data set, and which mask belongs to which image."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from rats_jax.data.sources import is_image, walk
from rats_jax.errors import UserError
from rats_jax.evals.datasets.part_dataset import Entry


def find_folders(
    path: Path, *, images: str, masks: str, split: str = ""
) -> tuple[Path, Path, Path, str]:
    """The root, the folder of images, that of masks, and the split, from the path a user gave.

    Args:
      path: the root, or one of the two folders of a split.
      images, masks: the two folders below the root, with {split} in them.
      split: the one taken if the path is the root.

    Raises:
      UserError: the two folders are not there.
    """
    candidates = [(path, split)]
    for pattern in (masks, images):
        ending = re.escape(pattern).replace(r"\{split\}", "(?P<split>[^/]+)")
        if match := re.fullmatch(f"(?P<root>.*)/{ending}", path.as_posix()):
            named = match.groupdict().get("split", split)
            candidates.append((Path(match["root"] or "/"), named))
    for root, named in candidates:
        folders = [root / pattern.format(split=named) for pattern in (images, masks)]
        if all(folder.is_dir() for folder in folders):
            return root, *folders, named
    raise UserError(
        f"{path} does not hold {images.format(split=split)}/ and {masks.format(split=split)}/; "
        "give the folder that does" + (", or a split's own" if split else "")
    )


def pair(
    images: Path,
    masks: Path,
    *,
    group: Callable[[str], str | None],
    find_masks: Callable[[Path, set[str]], Mapping[str, Path]] | None = None,
) -> list[Entry]:
    """One entry for each image, and each mask without one, paired by relative path without its
    ending.

    Args:
      images, masks: folders, with or without folders below.
      group: from an image's relative path.
      find_masks: from the folder of masks and the images' stems, the mask of each stem.

    Raises:
      UserError: there is no image, or two have the same stem.
    """
    names = {}
    for name in sorted(filter(is_image, walk(images))):
        stem = stem_of(name)
        if stem in names:
            raise UserError(
                f"{images} holds {names[stem]} and {name}, whose masks would have one name; "
                "rename one"
            )
        names[stem] = name
    if not names:
        raise UserError(f"{images} holds no image; expected JPEG, PNG or WebP files")
    found = (find_masks or png_masks)(masks, set(names))
    entries = [
        Entry(name, images / name, found[stem], group(name))
        if stem in found
        else Entry(name, fault=f"{images / name} has no mask {masks / stem}.*; add it")
        for stem, name in names.items()
    ]
    orphans = [
        Entry(
            found[stem].relative_to(masks).as_posix(),
            fault=f"{found[stem]} has no image {images / stem}.*; add it, or remove the mask",
        )
        for stem in found.keys() - names.keys()
    ]
    return sorted(entries + orphans, key=lambda entry: entry.name)


def png_masks(masks: Path, _: set[str]) -> dict[str, Path]:
    """The PNG files of a folder by their stems."""
    names = (name for name in walk(masks) if is_image(name) and name.lower().endswith(".png"))
    return {stem_of(name): masks / name for name in names}


def stem_of(name: str) -> str:
    """A relative path without the file's ending."""
    return Path(name).with_suffix("").as_posix()
