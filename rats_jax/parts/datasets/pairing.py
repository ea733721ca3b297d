"""Which folders hold a data set, and which mask belongs to which image."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Mapping, Set
from pathlib import Path

from rats_jax.data.sources import is_image, walk
from rats_jax.errors import UserError
from rats_jax.parts.datasets.id_files import ENDINGS
from rats_jax.parts.datasets.part_dataset import Entry


def find_folders(
    path: Path, *, images: str, masks: str, split: str = ""
) -> tuple[Path, Path, Path, str]:
    """The root, the folder of images, the folder of masks, and the split, from a user's path.

    Args:
      path: the root, or one of the two folders of a split.
      images, masks: the two folders below the root, with {split} in them.
      split: the split to use if the path is the root.

    Raises:
      UserError: the two folders do not exist.
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
    there = sorted(item.name for item in path.iterdir() if item.is_dir()) if path.is_dir() else []
    raise UserError(
        f"{path} does not contain {images.format(split=split)}/ and {masks.format(split=split)}/"
        + (f", but {', '.join(f'{name}/' for name in there[:5])}" if there else "")
        + "; give the folder that contains them"
        + (", or the folder of a split" if split else "")
    )


def pair(
    images: Path,
    masks: Path,
    *,
    group: Callable[[str], str | None],
    find_masks: Callable[[Path, set[str]], Mapping[str, Path]] | None = None,
) -> list[Entry]:
    """One entry for each image, and for each mask without an image. Images and masks are paired by
    their relative paths without the ending.

    Args:
      images, masks: folders, with or without subfolders.
      group: the group for an image's relative path.
      find_masks: the mask of each stem, for the folder of masks and the images' stems.

    Raises:
      UserError: there is no image, or two have the same stem.
    """
    names = {}
    for name in sorted(filter(is_image, walk(images))):
        stem = stem_of(name)
        if stem in names:
            raise UserError(
                f"{images} holds {names[stem]} and {name}, whose masks would have the same name; "
                "rename one"
            )
        names[stem] = name
    if not names:
        raise UserError(f"{images} contains no image; expected JPEG, PNG or WebP files")
    found = (find_masks or id_masks)(masks, set(names))
    composed_names = {composed(stem): stem for stem in found}
    paired = {
        stem: found[as_mask]
        for stem in names
        if (as_mask := stem if stem in found else composed_names.get(composed(stem)))
    }
    used = {*paired.values()}
    without = OtherFiles(masks, used) if len(paired) < len(names) else None
    entries = [
        Entry(name, images / name, paired[stem], group(name))
        if stem in paired
        else Entry(name, fault=without.fault(images / name, stem))
        for stem, name in names.items()
    ]
    orphans = {stem: mask for stem, mask in found.items() if mask not in used}
    others = {stem_of(name): images / name for name in walk(images)} if orphans else {}
    for stem, mask in orphans.items():
        fault = f"{mask} has no image {images / stem}.*; add it, or remove the mask"
        if (other := others.get(stem, mask)) != mask:
            fault = f"{mask} has no image that can be read, but {other}; save it as JPEG or PNG"
        entries.append(Entry(mask.relative_to(masks).as_posix(), fault=fault))
    return sorted(entries, key=lambda entry: entry.name)


def id_masks(masks: Path, stems: set[str]) -> dict[str, Path]:
    """The PNG files of a folder by their stems; for an image without a PNG, the file of ids in
    another format. UserError if there are two."""
    names = [name for name in walk(masks) if not is_hidden(name)]
    pngs = {stem_of(name): masks / name for name in names if name.lower().endswith(".png")}
    found = dict(pngs)
    for name in sorted(names):
        stem = stem_of(name)
        if name.lower().endswith(ENDINGS) and stem in stems and stem not in pngs:
            if stem in found:
                raise UserError(
                    f"{masks} holds {found[stem].relative_to(masks)} and {name}, two masks for "
                    "one image; remove one"
                )
            found[stem] = masks / name
    return found


class OtherFiles:
    """The files in a folder of masks that are not the mask of any image. One of them may be a
    missing mask in another format or under another name."""

    def __init__(self, masks: Path, paired: Set[Path]):
        self._masks = masks
        names = [name for name in walk(masks) if not is_hidden(name)]
        self._names = sorted((name for name in names if masks / name not in paired), key=_folded)

    def fault(self, image: Path, stem: str) -> str:
        """The message for an image without a mask."""
        line = f"{image} has no mask {self._masks / stem}.*"
        near = [name for name in self._named_like(stem) if self._masks / name != image]
        if same := next((name for name in near if stem_of(name) == stem), None):
            why = _NOT_READ.get(Path(same).suffix.lower(), "has a format that cannot be read")
            return f"{line} that can be read: {same} {why}; save its ids as PNG or by np.save"
        if near:
            return f"{line}, but there is {near[0]}; if this is the mask, rename it"
        return f"{line}; add it"

    def _named_like(self, stem: str) -> list[str]:
        """The names that begin with `stem`; for a, these include a_mask.png but not ab.png."""
        start = _folded(stem)
        found = []
        for name in self._names[bisect_left(self._names, start, key=_folded) :]:
            if not _folded(name).startswith(start):
                break
            if not name[len(stem)].isalnum():
                found.append(name)
        return found


def _folded(name: str) -> str:
    """A key that is equal for names that differ only by case, as on a case-insensitive disk."""
    return name.lower()


_NOT_READ = {
    **dict.fromkeys((".jpg", ".jpeg", ".webp"), "has a lossy format, which can change the ids"),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth"), "could execute code when it is loaded"),
}


def composed(name: str) -> str:
    """The name in the Unicode form that most systems write (NFC); macOS and others may write
    letters and accents separately."""
    return unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Whether a relative path has a hidden part."""
    return any(part.startswith(".") for part in name.split("/"))


def stem_of(name: str) -> str:
    """A relative path without the file's ending."""
    return Path(name).with_suffix("").as_posix()
