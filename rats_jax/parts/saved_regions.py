"""Label maps that another program wrote: a file for each image, found by the image's name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rats_jax.data.sources import walk
from rats_jax.errors import UserError
from rats_jax.parts.datasets import exif
from rats_jax.parts.datasets.id_files import (
    ARRAYS,
    ENDINGS,
    is_rgb,
    read_array,
    read_ids,
    read_rgb_ids,
)
from rats_jax.parts.datasets.pairing import is_hidden, stem_of
from rats_jax.parts.datasets.part_dataset import MOST_REGIONS
from rats_jax.parts.regions import Size, resize_labels
from rats_jax.paths import local_path, printable
from rats_jax.results_folder import file_names

RESERVED = "grid", "SLIC", "grid cells", "colour entries"  # rows of the tables that have no model


@dataclass(frozen=True)
class SavedRegions:
    """name: of these regions in the results. folder: of the files. files: label maps by sample
    name. others: files that are not label maps, by their names without the ending."""

    name: str
    folder: Path
    files: Mapping[str, Path]
    others: Mapping[str, str] = field(default_factory=dict)

    def read(self, sample: str, size: Size, orientation: int = exif.AS_STORED) -> np.ndarray:
        """As `read_ids`, with regions numbered 0, 1, ... in the order of their ids, int32."""
        _, places = np.unique(self.read_ids(sample, size, orientation), return_inverse=True)
        return places.reshape(size).astype(np.int32)

    def read_ids(self, sample: str, size: Size, orientation: int = exif.AS_STORED) -> np.ndarray:
        """int64 [*size], the ids in the label map of a sample whose mask has that size.

        orientation: EXIF orientation of the image's file. A map in the shape of the stored pixels
        is rotated like the image.

        Raises:
          UserError: the sample has no map, or an invalid one; one line that names the file.
        """
        try:
            path = self.file_of(sample)
            labels = _read(path)
            ids, places = np.unique(labels, return_inverse=True)
            _check_number(path, len(ids))
            height, width = labels.shape
            labels = places.reshape(height, width)
            if not _has_aspect(labels.shape, size):
                if orientation not in exif.QUARTERS or not _has_aspect(labels.shape, size[::-1]):
                    raise UserError(_other_aspect(path, labels.shape, size))
                labels = exif.upright(labels, orientation)
        except UserError as error:
            raise UserError(printable(str(error))) from error
        return ids.astype(np.int64)[resize_labels(labels, size)]

    def file_of(self, sample: str) -> Path:
        """The label map of a sample; UserError if there is none."""
        if sample in self.files:
            return self.files[sample]
        line = f"--regions {self.folder} has no label map for {sample}"
        stem = stem_of(sample)
        if other := next((self.others[n] for n in _names(sample) if n in self.others), None):
            raise UserError(f"{line} that can be read, but {other}: save its ids as PNG or .npy")
        raise UserError(f"{line}: add {stem} with {' or '.join(ENDINGS)}")


def open_saved_regions(
    specs: Iterable[str], samples: Sequence[str], *, skip_broken: bool
) -> list[SavedRegions]:
    """Finds the label maps of samples in each folder, given as NAME=DIR or DIR.

    The name of a map is the sample's relative path without its ending; or that path as a single
    file name, as `rats_jax.visualize` writes in labels/; or the last part of the path.

    Raises:
      UserError: a folder does not exist or has no label map, a sample has two maps, two samples
        have the same map, two folders have the same name, or a folder has a name that results use
        otherwise; a sample has no map, unless broken samples are skipped.
    """
    opened: list[SavedRegions] = []
    try:
        for spec in specs:
            name, folder = _named(spec)
            if name in [other.name for other in opened]:
                raise UserError(f"two --regions are named {name}; write --regions=NAME={folder}")
            files, others = _listed(folder)
            opened.append(SavedRegions(name, folder, _matched(folder, files, samples), others))
            for sample in () if skip_broken else samples:
                opened[-1].file_of(sample)
    except UserError as error:
        raise UserError(printable(str(error))) from error  # names may contain line breaks
    except OSError as error:
        raise UserError(printable(f"--regions={spec} cannot be read ({error.strerror})")) from error
    return opened


def _named(spec: str) -> tuple[str, Path]:
    name, separator, path = spec.partition("=")
    if not separator or "/" in name or not path or local_path(spec).is_dir():
        name, path = "", spec  # a folder's name may contain =
    folder = local_path(path).absolute()
    if not path or not folder.is_dir():
        raise UserError(f"--regions={spec}: {folder} is not a folder; write NAME=DIR or DIR")
    name = printable(name or folder.resolve().name)
    if name in RESERVED or any(mark in name for mark in (" like ", ": ", "|")):
        raise UserError(
            f"--regions={spec}: {name} is reserved for other rows, or is not a valid name in a "
            f"table; write --regions=NAME={folder}"
        )
    return name, folder


def _listed(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The label maps and the other files, each by their names without the ending."""
    files: dict[str, Path] = {}
    others: dict[str, str] = {}
    for file in sorted(walk(folder)):
        stem = stem_of(file)
        if is_hidden(file):
            continue
        if not file.lower().endswith(ENDINGS):
            others[stem] = file
            continue
        if stem in files:
            raise UserError(
                f"{files[stem]} and {folder / file} are two label maps with the same name; remove "
                "one"
            )
        files[stem] = folder / file
    if not files:
        but = f", but {next(iter(others.values()))}" if others else ""
        raise UserError(
            f"--regions {folder} contains no label map{but}; expected {', '.join(ENDINGS)}"
        )
    return files, others


def _names(sample: str) -> tuple[str, ...]:
    """The names that a sample's label map may have, without an ending."""
    return stem_of(sample), file_names([sample])[0], Path(sample).stem


def _matched(folder: Path, files: Mapping[str, Path], samples: Sequence[str]) -> dict[str, Path]:
    matched: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for sample in samples:
        path = next((files[name] for name in _names(sample) if name in files), None)
        if path is None:
            continue
        if path in owners:
            raise UserError(
                f"{path} matches both {owners[path]} and {sample}; keep the folder structure of "
                "the images"
            )
        matched[sample], owners[path] = path, sample
    if not matched:
        raise UserError(
            f"--regions {folder} has no label map for any image; the first is expected as "
            f"{folder / stem_of(samples[0])}.png, and there is {next(iter(files.values()))}"
        )
    return matched


def _read(path: Path) -> np.ndarray:
    """Integers [h, w]."""
    if path.suffix.lower() not in ARRAYS:
        return read_rgb_ids(path) if is_rgb(path) else read_ids(path)
    labels = read_array(path)
    if labels.ndim != 2 or labels.dtype.kind not in "iub" or not labels.size:
        raise UserError(
            f"{path} holds {labels.dtype} {list(labels.shape)}; write integer labels [height, "
            "width], one for each pixel"
        )
    return labels


def _check_number(path: Path, regions: int) -> None:
    if regions > MOST_REGIONS:
        raise UserError(
            f"{path} holds {regions:,} labels, more than the limit of {MOST_REGIONS:,}: it seems "
            "to be a photograph; write one label per region"
        )


def _has_aspect(labels: Size, mask: Size) -> bool:
    """Whether both have the same aspect ratio; either side may be rounded to a whole label."""
    (h, w), (height, width) = labels, mask
    return min(abs(h * width / height - w), abs(w * height / width - h)) <= 1


def _other_aspect(path: Path, labels: Size, mask: Size) -> str:
    (h, w), (height, width) = labels, mask
    return (
        f"{path} is {w} x {h}, but its image {width} x {height}: the aspect ratios differ; resize "
        "the labels to the size of the image, without interpolation"
    )
