"""Finds the file of weights that a path refers to, its display name, and what else it may be."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rats_jax.errors import UserError
from rats_jax.paths import printable

#: Files of weights in a folder, or NAME.index.json of their parts; the first that exists is used.
NAMES = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
#: The folder of a repository in the cache of the Hugging Face hub: models--ORGANISATION--NAME.
REPOSITORY = "models--"
#: Names that do not identify a file: the name of the folder is shown too.
SAYS_NOTHING = re.compile(
    r"(model\.safetensors|pytorch_model\.bin)(\.index\.json)?|checkpoint-\d+|\d+|[0-9a-f]{7,64}"
)
#: One of the files that an index lists.
PART = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<ending>\.\w+)")
SHARD = ".distcp"  # a file of torch.distributed.checkpoint
MOST_LISTED = 3


def weights_file(path: Path) -> Path:
    """The file itself, or the file of weights in a folder. Raises UserError, OSError."""
    if path.is_dir():
        folder = _snapshot(path)
        if (file := _in_folder(folder)) is None:
            raise UserError(_no_weights(folder))
        return file
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file: name a file or a folder of weights")
    if path.name.endswith(SHARD):
        raise UserError(_no_weights(path.parent))
    if (part := PART.fullmatch(path.name)) and int(part["count"]) > 1:
        index = path.with_name(part["stem"] + part["ending"] + INDEX)
        remedy = f"name {index}" if index.exists() else f"get {index.name} too, and name that"
        raise UserError(f"{path} is one of {int(part['count'])} parts of the weights: {remedy}")
    beside = path.suffix in (".json", ".md", ".py") and not path.name.endswith(INDEX)
    if beside and _in_folder(path.parent):
        raise UserError(f"{path} holds no weights: name its folder, {path.parent}")
    return path


def holds_weights(path: Path) -> bool:
    """Whether a path contains weights, judged by names only."""
    if path.is_dir():
        return _in_folder(path) is not None
    return path.name.endswith((*ENDINGS, INDEX)) and path.is_file()


def display_name(file: Path) -> str:
    """The name of weights for display, in one line: the name of the model if they are in the cache
    of a hub, else the name of the file. If that does not identify it, the folders are added."""
    given = Path(os.path.abspath(file))
    for parts in (given.parts, file.resolve().parts):
        for i, part in enumerate(parts):
            if part.startswith(REPOSITORY):
                name = part.removeprefix(REPOSITORY).replace("--", "/")
                inside = [p for p in parts[i + 3 :] if p not in NAMES and not p.endswith(INDEX)]
                return printable("/".join([name, *inside]))
    count = 1
    while count < min(4, len(given.parts) - 1) and SAYS_NOTHING.fullmatch(given.parts[-count]):
        count += 1
    return printable("/".join(given.parts[-count:]))


def _in_folder(folder: Path) -> Path | None:
    for name in NAMES:
        for file in (folder / name, folder / (name + INDEX)):
            if file.exists():
                return file
    return None


def _snapshot(folder: Path) -> Path:
    """The newest snapshot, if this is a repository in a hub's cache; else the folder."""
    inside = folder.name in ("snapshots", "blobs", "refs")
    repository = folder.parent if inside else folder
    snapshots = repository / "snapshots"
    if not repository.resolve().name.startswith(REPOSITORY) or not snapshots.is_dir():
        return folder
    there = sorted(entry for entry in snapshots.iterdir() if entry.is_dir())
    main = repository / "refs" / "main"
    if main.is_file():
        newest = snapshots / main.read_text(errors="replace").strip()
        if newest in there:
            return newest
    if len(there) == 1:
        return there[0]
    listed = f"it has {_listed(there)}" if there else "it has none: download the model again"
    raise UserError(f"{repository} does not say which of its snapshots is meant: {listed}")


def _no_weights(folder: Path) -> str:
    """The message for a folder without weights: what is wrong, and what to name instead."""
    entries = sorted(folder.iterdir())
    if any(entry.name.endswith(SHARD) for entry in entries):
        return (
            f"{folder} is a sharded checkpoint of torch.distributed.checkpoint: make one file of "
            f"it with python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} "
            "FILE.pth, and name that"
        )
    files = [entry for entry in entries if entry.name.endswith((*ENDINGS, INDEX))]
    if files and not any(entry.exists() for entry in files):
        return (
            f"{files[0]} is a link to a file that is not there, as where a hub's snapshots/ was "
            "copied without its blobs/: copy both, or download the model again"
        )
    if files:
        remedy = f"name the file itself, such as {files[0]}"
    elif folders := [entry for entry in entries if entry.is_dir() and any(_weights_in(entry))]:
        remedy = f"name the folder in it that does: {_listed(folders)}"
    else:
        remedy = "name another folder"
    return f"{folder} holds no {' or '.join(NAMES)}: {remedy}"


def _weights_in(folder: Path) -> Iterator[Path]:
    try:
        yield from (entry for entry in folder.iterdir() if holds_weights(entry))
        if folder.name.startswith(REPOSITORY) or _in_folder(folder):
            yield folder
    except OSError:
        pass


def _listed(paths: list[Path]) -> str:
    more = ", ..." if len(paths) > MOST_LISTED else ""
    return ", ".join(map(str, paths[:MOST_LISTED])) + more


def read_json(path: Path) -> dict:
    """The object in a JSON file. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path} is no file: put the model's config.json there, or take it away")
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object; copy or download it again")
    return content


def what_else(start: bytes) -> str:
    """For a file without weights: what it is, judged by its first bytes, and what to do."""
    if not start:
        return "is empty: copy or download it again"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of git-lfs, not the weights: fetch them with git lfs pull"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the weights: download from the address of the file itself"
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return "is an archive: unpack it, and name the file of the weights in it"
    return "is no file of weights: name one of safetensors or of torch.save"
