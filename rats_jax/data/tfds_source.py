"""Reads images of TensorFlow Datasets in ArrayRecord files, without TensorFlow."""

import itertools
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rats_jax.data.fingerprint import fingerprint_of_names
from rats_jax.data.names import Names
from rats_jax.errors import UserError
from rats_jax.paths import check_utf8

UNLABELLED = -1
PIXELS = (np.uint8, np.uint16)  # TFDS stores float pixels as the bytes of a PNG


class TFDS:
    """One split of a data set that TFDS has prepared as ArrayRecord: encoded `image` and `label`.

    Other features are not read. If there is no `label`, or if it is not a whole number, the label
    is -1. A file is opened at its first read, once per process.

    Args:
      name: data set, with config and version if there are several, such as `imagenet2012:5.1.0`.
      split: in TFDS syntax, such as `train`, `train[:90%]` or `train+validation`.
      data_dir: the folder with a folder for each TFDS data set. `~` is the home directory.

    Attributes:
      files: the feature `file_name` of each image, read when it is asked for; None if the data set
        does not have it.
      classes: names of the labels; empty if the data set has none.
      notes: the splits that are not read, and a warning if there are no labels.

    Raises:
      UserError: the data set or the split does not exist, files are missing or have another format,
        there are no encoded images, a path is not UTF-8, or TFDS is not installed.
    """

    def __init__(self, name: str, split: str, data_dir: str | os.PathLike):
        data_dir = os.path.expanduser(os.fspath(data_dir))
        check_utf8(data_dir, "the data_dir")  # array_record cannot open other paths
        try:
            import tensorflow_datasets as tfds

            builder = _find(name, data_dir)
            self._records = _open(builder, split)
        except ImportError as error:
            missing = f" {error.name}" if error.name else ""
            raise UserError(
                f"a TFDS data set cannot be read ({error}); "
                f"pip install tensorflow_datasets{missing}"
            ) from error
        info = builder.info
        features = info.features if isinstance(info.features, tfds.features.FeaturesDict) else {}
        image, label, file_name = map(dict(features).get, ("image", "label", "file_name"))
        if not isinstance(image, tfds.features.Image) or image.np_dtype not in PIXELS:
            raise UserError(
                f"{info.full_name} has no feature `image` of uint8 or uint16 (its features are "
                f"{', '.join(features) or info.features}); choose another data set"
            )
        self._name, self._split = info.full_name, split
        named = re.findall(r"\w+", split)
        others = [each for each in info.splits if not {each, "all"} & set(named)]
        self.notes = [f"not read: the splits {', '.join(others)}"] if others else []
        self._labelled = (
            label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
        )
        if not self._labelled:
            self.notes.append(
                "warning: there is no feature `label` of whole numbers, so the images have no "
                "labels"
            )
        self._named = isinstance(file_name, tfds.features.Text)
        self.classes = label.names if isinstance(label, tfds.features.ClassLabel) else []

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int, /) -> tuple[bytes, int]:
        return self.read(index)[1:]

    @property
    def files(self) -> Sequence[str] | None:
        return Names(self, self._file_name) if self._named else None

    def fingerprint(self) -> str:
        """The fingerprint of the data set's name, version and split: a version never changes."""
        return fingerprint_of_names([self._name, self._split, str(len(self))])

    def read(self, index: int) -> tuple[str, bytes, int]:
        """File name ("" if there is none), image and label; OSError if the record is damaged."""
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        try:
            features = tf_example_pb2.Example.FromString(self._records[index]).features.feature
            return (
                os.fsdecode(features["file_name"].bytes_list.value[0]) if self._named else "",
                features["image"].bytes_list.value[0],
                features["label"].int64_list.value[0] if self._labelled else UNLABELLED,
            )
        except (DecodeError, RuntimeError, ValueError, IndexError) as error:
            raise OSError(f"image {index} of {self._name}: {error}") from error

    def _file_name(self, index: int) -> str:
        try:
            return self.read(index)[0]
        except OSError:  # names are mostly needed for images that cannot be read
            return f"image {index}"


def _find(name: str, data_dir: str):
    """Finds the data set from its files alone. The code that made it needs TensorFlow, and is not
    loaded."""
    from tensorflow_datasets.core.read_only_builder import builder_from_files
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    try:
        return builder_from_files(name, data_dir=data_dir)
    except DatasetNotFoundError as error:
        patterns = ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
        found = itertools.chain.from_iterable(Path(data_dir).glob(p) for p in patterns)
        there = sorted(path.parent.relative_to(data_dir).as_posix() for path in found)
        raise UserError(
            f"{data_dir} does not contain the data set {name} (it contains "
            f"{', '.join(there) or 'none'}); give the data_dir of TFDS and name:version"
        ) from error
    except ValueError as error:  # an invalid name, or files from before features.json
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"data set {name} cannot be read ({reason}); give name:version, such as "
            "imagenet2012:5.1.0"
        ) from error


def _open(builder, split: str) -> Sequence[bytes]:
    """The undecoded records of a split."""
    import tensorflow_datasets as tfds

    folder, formats = builder.data_dir, {f.value for f in builder.info.available_file_formats()}
    if "array_record" not in formats:
        raise UserError(
            f"{folder} is in {', '.join(sorted(formats)) or 'no known'} format, which has no fast "
            "access by index; convert it with: tfds convert_format "
            f"{shlex.quote(f'--dataset_version_dir={folder}')} --out_file_format=array_record"
        )
    try:
        records = builder.as_data_source(
            split,
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
            file_format="array_record",
        )
    except ValueError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"split {split!r} of {builder.info.full_name} cannot be read ({reason}); "
            f"it has {', '.join(builder.info.splits)}"
        ) from error
    for path in builder.info.splits[split].filepaths:
        if not os.path.exists(path):
            raise UserError(f"{path} is missing; complete {folder}")
    return records
