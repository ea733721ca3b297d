"""Makes folders of shards from --input: makes missing shards, and verifies finished ones."""

import json
from contextlib import contextmanager
from pathlib import Path

from rats_jax.data.counted import counted
from rats_jax.data.records import FORMAT, MANIFEST, check_path
from rats_jax.errors import UserError
from rats_jax.files import lock
from rats_jax.paths import printable
from rats_jax.preparation import shards
from rats_jax.preparation.inputs import Split, find_splits
from rats_jax.preparation.plan import open_plan
from rats_jax.preparation.shards import Shard
from rats_jax.preparation.workers import in_workers
from rats_jax.progress import Progress
from rats_jax.voice import say

LOCK = ".prepare.lock"
UNREADABLE = "unreadable.txt"


def prepare(
    source: Path, output: Path, *, workers: int, shard_mb: float, shorter_side: int
) -> list[Path]:
    """Makes `output`/train and `output`/val, or the one of them that `source` has.

    Shards that an earlier run finished are kept; those of a finished folder are verified.

    Args:
      source: see `inputs.find_splits`.
      output: a folder; it is created if needed.
      workers: number of processes.
      shard_mb: the image files of a shard have at most about this size, in units of 2^20 bytes.
      shorter_side: larger images are resized to this shorter side, in pixels; 0 for no resizing.

    Returns:
      The folders of shards.

    Raises:
      UserError: an error that the user can correct.
    """
    check_path(output.absolute(), "--output")
    say(f"listing {printable(str(source))}")
    try:
        splits = find_splits(source)
    except UserError as error:
        raise UserError(f"--input: {error}") from error
    for split in splits:
        if split.root.is_dir() and output.resolve().is_relative_to(split.root.resolve()):
            raise UserError(
                f"--output {output} is in {split.root}, which is an input; choose another folder"
            )
    with shards.writing(output):
        output.mkdir(parents=True, exist_ok=True)
    with _alone_in(output):
        plans = [
            open_plan(split, output / split.name, shard_mb=shard_mb, shorter_side=shorter_side)
            for split in splits
        ]
        for split, plan in zip(splits, plans, strict=True):
            _complete(split, plan, output / split.name, workers=workers)
    return [output / split.name for split in splits]


@contextmanager
def _alone_in(output: Path):
    with shards.writing(output / LOCK):
        file = (output / LOCK).open("w")
    with file:
        try:
            if not lock(file):
                raise UserError(
                    f"another prepare command is writing to {output}; wait for it, or choose "
                    "another --output"
                )
        except OSError:
            say(
                f"the file system of {output} does not support locks: make sure that no other "
                "prepare command writes there"
            )
        try:
            shards.clear(output)
            yield
        finally:
            shards.clear(output)


def _complete(split: Split, plan: list[Shard], folder: Path, *, workers: int) -> None:
    """Makes the missing shards of a folder, and its manifest last."""
    for note in split.notes:
        say(note)
    path = folder / MANIFEST
    finished = path.read_text(encoding="utf-8") if path.exists() else None
    entries = [shards.find(shard.path) for shard in plan]
    if finished is not None:
        entries = _verified(split, plan, entries, workers=workers)
    missing = [shard for shard, entry in zip(plan, entries, strict=True) if entry is None]
    if missing:
        path.unlink(missing_ok=True)
    made = iter(_make(split, missing, workers=workers) if missing else [])
    manifest = _manifest(split, plan, [entry or next(made) for entry in entries])
    if not manifest["images"]:
        first = manifest["unreadable"][0]
        raise UserError(
            printable(
                f"no image of {split.root} can be read; the first error: {first['name']}: "
                f"{first['reason']}"
            )
        )
    content = json.dumps(manifest, indent=1) + "\n"
    if missing or content != finished:
        lines = [
            f"{printable(file['name'])}\t{printable(file['reason'])}\n"
            for file in manifest["unreadable"]
        ]
        shards.write_whole(folder / UNREADABLE, "".join(lines))
        shards.write_whole(path, content)
    if finished is not None:
        say(
            f"{split.name}: {len(plan) - len(missing):,} of {counted(len(plan), 'shard')} "
            f"verified by checksum, {len(missing):,} written again"
        )
    unreadable = len(manifest["unreadable"])
    say(
        f"{split.name}: {counted(len(split.files) + split.passed_over.files, 'file')}: "
        f"{counted(manifest['images'], 'image')} in {counted(len(plan), 'shard')}; "
        f"{unreadable:,} unreadable"
        + (f", listed in {folder / UNREADABLE}" if unreadable else "")
        + f"; {split.passed_over.files:,} skipped"
    )


def _verified(
    split: Split, plan: list[Shard], entries: list[dict | None], *, workers: int
) -> list[dict | None]:
    """`entries`, with None for damaged shards, which are reported."""
    there = [
        (shard.path, entry) for shard, entry in zip(plan, entries, strict=True) if entry is not None
    ]
    progress = Progress(
        f"verifying {split.name}",
        sum(entry["images"] for _, entry in there),
        bytes_left=sum(entry["bytes"] for _, entry in there),
        in_place=True,
    )
    answers = in_workers(shards.is_whole, there, workers=workers, progress=progress)
    whole = {path for (path, _), answer in zip(there, answers, strict=True) if answer}
    for shard, entry in zip(plan, entries, strict=True):
        if entry is None:
            say(f"{shard.path} is missing or too short: it will be written again")
        elif shard.path not in whole:
            say(f"{shard.path} is damaged (its checksum differs): it will be written again")
            shards.forget(shard.path)
    return [
        entry if shard.path in whole else None for shard, entry in zip(plan, entries, strict=True)
    ]


def _make(split: Split, missing: list[Shard], *, workers: int) -> list[dict]:
    done = len(split.files) - sum(len(shard.files) for shard in missing)
    if done:
        say(f"{split.name}: {done:,} of {len(split.files):,} images are already in finished shards")
    progress = Progress(
        split.name,
        len(split.files),
        done=done,
        bytes_left=sum(file.size for shard in missing for file in shard.files),
        in_place=True,
    )
    return in_workers(shards.write, missing, workers=workers, progress=progress)


def _manifest(split: Split, plan: list[Shard], entries: list[dict]) -> dict:
    return {
        "format": FORMAT,
        "images": sum(entry["images"] for entry in entries),
        "skipped": split.passed_over.files,
        "input": str(split.root.absolute()),
        "shorter_side": plan[0].shorter_side,
        "classes": split.classes,
        "shards": [
            {name: entry[name] for name in ("file", "images", "bytes", "sha256")}
            for entry in entries
        ],
        "unreadable": [file for entry in entries for file in entry["unreadable"]],
    }
