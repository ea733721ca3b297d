"""What a source contains but does not read: counts by reason, with the first name of each."""

import errno
import os

from rats_jax.paths import printable

# Reasons, as messages show them.
HIDDEN = "hidden files"
OTHER = "other files"
OTHER_FORMAT = "images that are neither JPEG, PNG nor WebP (convert them)"
ARCHIVE = "archives (unpack them)"
TAR = "tars (the source tar reads them; python -m rats_jax.prepare also reads tars within a tar)"
SHARD = "shards (the sources records and tfds read them)"
BROKEN_LINK = "broken links"
LOOSE = "images next to the tars (read them as an image_folder)"
FOLDER = "folders (give one of them, or use a pattern)"
FOLDER_AGAIN = "folders that were already listed under another path"
LINK = "links whose target is not a file in the tar"
UNLISTED = "shards that are not in manifest.json (prepare the data again)"
SPARSE = "sparse files (pack them without --sparse)"
SPECIAL = "pipes, devices and other special files"
REPLACED = "members that are replaced by a later one of the same name"
ZEROS = "many zeros after the end of a tar (as an unfinished download leaves)"
JUNK = "data after the end of a tar that belongs to no member"
BAD_LABEL = "labels that are not whole numbers from 0 to 2^63"
LONE_LABEL = "labels without an image"

#: Reasons without a warning, since any data set has such files.
EXPECTED = {HIDDEN, OTHER}
#: Reasons that do not count files.
NO_FILES = {FOLDER, FOLDER_AGAIN, ZEROS, JUNK}

FORMATS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff", ".psd", ".exr"),
    *(".pbm", ".pgm", ".ppm", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw"),  # cameras' raw files
)
ARCHIVES = (
    *(".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"),
    *(".parquet", ".arrow", ".tfrecord", ".h5", ".hdf5", ".mdb"),
)


class PassedOver:
    """What was passed over.

    Attributes:
      found: count and first name, by reason.
    """

    def __init__(self, found: dict[str, tuple[int, str]] | None = None):
        self.found = dict(found or {})

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Adds `count` things, of which `name` is one."""
        before, first = self.found.get(reason, (0, name))
        self.found[reason] = before + count, first

    def add_all(self, other: "PassedOver", *, folder: str) -> None:
        """Adds all of `other`, with `folder` before its names unless that is ""."""
        for reason, (count, name) in other.found.items():
            self.add(reason, f"{folder}/{name}" if folder else name, count)

    @property
    def files(self) -> int:
        return sum(count for reason, (count, _) in self.found.items() if reason not in NO_FILES)

    def notes(self, place: object) -> list[str]:
        """A line for the user; empty if nothing was passed over."""
        warning = "" if self.found.keys() <= EXPECTED else "warning: "
        return [f"{warning}skipped in {printable(str(place))}: {self}"] if self.found else []

    def __str__(self) -> str:
        return "; ".join(
            f"{reason}: {count:,} (first {printable(name)})"
            for reason, (count, name) in self.found.items()
        )


def is_hidden(name: str) -> bool:
    """Whether a relative path is hidden, or in a hidden folder."""
    return any(part.startswith(".") for part in name.split("/"))


def why_no_file(entry: os.DirEntry) -> str | None:
    """FOLDER, BROKEN_LINK or SPECIAL; None for a regular file. Links are followed. If the listing
    gives the types of the entries, only links need another request to the file system."""
    try:
        if entry.is_dir():
            return FOLDER
        if entry.is_file():
            return None
    except OSError as error:  # not permitted: the error is reported when the file is read
        return BROKEN_LINK if error.errno == errno.ELOOP else None
    return BROKEN_LINK if entry.is_symlink() and not os.path.exists(entry.path) else SPECIAL


def why_passed_over(name: str) -> str:
    """The reason why a file is not read, if its name is not that of an image."""
    if is_hidden(name):
        return HIDDEN
    lower = name.lower()
    if lower.endswith(FORMATS):
        return OTHER_FORMAT
    if lower.endswith((".tar", ".array_record")):
        return TAR if lower.endswith(".tar") else SHARD
    return ARCHIVE if lower.endswith(ARCHIVES) else OTHER
