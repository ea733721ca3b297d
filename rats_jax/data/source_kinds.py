"""The kinds of sources, in one table for training, evaluation, validation and --help.

To add a kind, write its source (see `sources.Source`) and an entry here.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rats_jax.data.records import Records
from rats_jax.data.sources import ImageFolder, Source
from rats_jax.data.tars import Tars
from rats_jax.data.tfds_source import TFDS
from rats_jax.errors import UserError
from rats_jax.paths import check_utf8, local_path
from rats_jax.procedural_parts import ProceduralParts
from rats_jax.procedural_parts.place import PATTERN as DRAWINGS
from rats_jax.procedural_parts.place import count_and_seed

DRAWN = 128  # size in pixels of the drawings for evaluation


def _path(place: str) -> object:
    return os.path.realpath(local_path(place))


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """A kind of source, and how training and evaluation specify one.

    open: makes the source from the fields of `config.data` named in `reads`. Raises UserError.
    needs: the fields that are required, each with advice for the user if it is missing.
    open_place: makes the source from the PLACE of KIND:PLACE. Raises UserError.
    written: how KIND:PLACE is written.
    which: maps a PLACE to a value that is equal for two places if their images are the same.
    """

    open: Callable[..., Source]
    reads: tuple[str, ...]
    needs: Mapping[str, str]
    open_place: Callable[[str], Source]
    written: str
    which: Callable[[str], object] = _path


def _records(place: str) -> Records:
    folder = local_path(place)
    check_utf8(folder, "the folder")
    return Records(folder)


def _tfds(place: str) -> TFDS:
    what, _, folder = place.partition("@")
    name, _, split = what.rpartition("/")
    if not (name and split and folder):
        raise UserError(f"write {SOURCES['tfds'].written}")
    check_utf8(folder, "the folder")
    return TFDS(name, split, local_path(folder))


def _tfds_which(place: str) -> object:
    what, _, folder = place.partition("@")
    return what, _path(folder)


def _drawings(place: str) -> ProceduralParts:
    count, seed = count_and_seed(place)
    return ProceduralParts(size=DRAWN, length=count, seed=seed)


def _drawings_which(place: str) -> object:
    """The seed: with the same seed, the first pictures are the same for any count."""
    return int(place.partition("@")[2] or 0)


SOURCES = {
    "image_folder": SourceKind(
        open=lambda path: ImageFolder(path),
        reads=("path",),
        needs={"path": "give the folder of images to train on"},
        open_place=lambda place: ImageFolder(local_path(place)),
        written="image_folder:FOLDER, with a folder for each class",
    ),
    "records": SourceKind(
        open=lambda path: Records(path),
        reads=("path",),
        needs={"path": "give a folder that `python -m rats_jax.prepare` has written"},
        open_place=_records,
        written="records:FOLDER, written by python -m rats_jax.prepare",
    ),
    "tar": SourceKind(
        open=lambda path: Tars(path),
        reads=("path",),
        needs={
            "path": "give a tar file, a folder of them, or a pattern such as data-{000..146}.tar"
        },
        open_place=lambda place: Tars(local_path(place)),
        written="tar:PATH, a tar, a folder of them or a pattern",
    ),
    "tfds": SourceKind(
        open=lambda name, split, path: TFDS(name, split, path),
        reads=("name", "split", "path"),
        needs={
            "path": "give the data_dir of tensorflow-datasets, which has the prepared data set",
            "name": "name the data set, such as imagenet2012:5.1.0",
        },
        open_place=_tfds,
        written="tfds:NAME/SPLIT@DATA_DIR",
        which=_tfds_which,
    ),
    "procedural_parts": SourceKind(
        open=ProceduralParts,
        reads=("size", "length", "seed"),
        needs={"length": "give the number of images to draw"},
        open_place=_drawings,
        written=DRAWINGS,
        which=_drawings_which,
    ),
}
