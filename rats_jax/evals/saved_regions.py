"""Label maps that another program wrote: a file for each image, found by the image's name."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from rats_jax.data.decode import UnreadableImage, open_image
from rats_jax.data.sources import walk
from rats_jax.errors import UserError
from rats_jax.evals.datasets.pairing import stem_of
from rats_jax.evals.datasets.part_dataset import read_bytes
from rats_jax.evals.datasets.png_ids import read_ids, read_rgb_ids
from rats_jax.evals.regions import Size, resize_labels
from rats_jax.paths import printable
from rats_jax.results_folder import file_names

ENDINGS = (".png", ".npy", ".npz")


@dataclass(frozen=True)
class SavedRegions:
    """name: in the results. folder: where they lie. files: by the name of the sample."""

    name: str
    folder: Path
    files: dict[str, Path]

    def read(self, sample: str, size: Size) -> np.ndarray:
        """int32 [*size], regions 0, 1, ... of a sample whose mask has that size.

        Raises:
          UserError: there is no map for it, or it is none; one line that names the file.
        """
        try:
            path = self.file_of(sample)
            labels = _read(path)
            _check_aspect(path, labels.shape, size)
        except UserError as error:
            raise UserError(printable(str(error))) from error
        _, places = np.unique(labels, return_inverse=True)
        labels = resize_labels(places.reshape(labels.shape), size)
        _, places = np.unique(labels, return_inverse=True)  # small ones may be gone
        return places.reshape(size).astype(np.int32)

    def file_of(self, sample: str) -> Path:
        """UserError if there is none."""
        if sample in self.files:
            return self.files[sample]
        raise UserError(
            f"--regions {self.folder} has no label map for {sample}: add {stem_of(sample)} with "
            f"{' or '.join(ENDINGS)}"
        )


def open_saved_regions(
    specs: Iterable[str], samples: Sequence[str], *, skip_broken: bool
) -> list[SavedRegions]:
    """Finds the label maps of samples in each folder, given as NAME=DIR or DIR.

    A map bears the sample's relative path without its ending; or that path in one name, as
    `rats_jax.visualize` writes labels/; or the last part of it.

    Raises:
      UserError: a folder is not there or holds no label map, a sample has two, two samples have
        one, two folders have one name, or a folder one that results use otherwise; a sample has
        none, unless broken ones are skipped.
    """
    opened: list[SavedRegions] = []
    for spec in specs:
        name, folder = _named(spec)
        if name in [other.name for other in opened]:
            raise UserError(f"two --regions are named {name}; write --regions=NAME={folder}")
        opened.append(SavedRegions(name, folder, _matched(folder, samples)))
        for sample in () if skip_broken else samples:
            opened[-1].file_of(sample)
    return opened


def _named(spec: str) -> tuple[str, Path]:
    name, separator, path = spec.partition("=")
    if not separator or "/" in name:
        name, path = "", spec
    folder = Path(path).expanduser()
    if not path or not folder.is_dir():
        raise UserError(f"--regions={spec}: {folder} is no folder; write NAME=DIR or DIR")
    name = name or folder.resolve().name
    if name in ("grid", "SLIC") or any(mark in name for mark in (" like ", ": ", "|")):
        raise UserError(
            f"--regions={spec}: {name} is taken for other rows, or no name in a table; write "
            f"--regions=NAME={folder}"
        )
    return name, folder


def _matched(folder: Path, samples: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(walk(folder)):
        if not file.lower().endswith(ENDINGS) or any(p.startswith(".") for p in file.split("/")):
            continue
        stem = stem_of(file)
        if stem in files:
            raise UserError(
                f"{files[stem]} and {folder / file} are two label maps of one name; remove one"
            )
        files[stem] = folder / file
    if not files:
        raise UserError(f"--regions {folder} holds no label map; expected {', '.join(ENDINGS)}")
    matched: dict[str, Path] = {}
    owners: dict[Path, str] = {}
    for sample in samples:
        names = (stem_of(sample), file_names([sample])[0], Path(sample).stem)
        path = next((files[name] for name in names if name in files), None)
        if path is None:
            continue
        if path in owners:
            raise UserError(
                f"{path} would be the label map of {owners[path]} and of {sample}; keep the "
                "folders of the images"
            )
        matched[sample], owners[path] = path, sample
    if not matched:
        raise UserError(
            f"--regions {folder} has no label map for any image; one is expected as "
            f"{folder / stem_of(samples[0])}.png, and there is {next(iter(files.values()))}"
        )
    return matched


def _read(path: Path) -> np.ndarray:
    """Integers [h, w]."""
    if path.suffix.lower() == ".png":
        return read_rgb_ids(path) if _is_rgb(path) else read_ids(path)
    try:
        labels = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
        if isinstance(labels, np.lib.npyio.NpzFile):
            if len(labels.files) != 1:
                raise UserError(
                    f"{path} holds {len(labels.files)} arrays; write one, the label map"
                )
            labels = labels[labels.files[0]]
    except (BadZipFile, EOFError, MemoryError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is no array that can be read ({reason}); write it again"
        ) from error
    if labels.ndim != 2 or labels.dtype.kind not in "iub" or not labels.size:
        raise UserError(
            f"{path} holds {labels.dtype} {list(labels.shape)}; write integer labels [height, "
            "width], one for each pixel"
        )
    return labels


def _is_rgb(path: Path) -> bool:
    try:
        return open_image(read_bytes(path), ("PNG",)).mode == "RGB"
    except UnreadableImage:
        return False  # told where it is read


def _check_aspect(path: Path, labels: Size, mask: Size) -> None:
    """Either side may be rounded to a whole label."""
    (h, w), (height, width) = labels, mask
    if min(abs(h * width / height - w), abs(w * height / width - h)) > 1:
        raise UserError(
            f"{path} is {w} x {h}, and its image {width} x {height}: the shapes differ; bring the "
            "labels to the image's, without interpolation"
        )
