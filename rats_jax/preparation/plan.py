"""The plan: which files go into which shard. It depends only on the files and the flags, and is
stored with the shards."""

import hashlib
import json
import math
from pathlib import Path

from rats_jax.errors import UserError
from rats_jax.preparation import shards
from rats_jax.preparation.inputs import File, Split
from rats_jax.preparation.shards import Shard

PLAN = "plan.json"


def open_plan(split: Split, folder: Path, *, shard_mb: float, shorter_side: int) -> list[Shard]:
    """The shards that `folder` will contain.

    Raises:
      UserError: `folder` was begun with another input or other flags, or has files that prepare did
        not write.
    """
    plan = {"shard_mb": shard_mb, "shorter_side": shorter_side, "input": _digest(split)}
    path = folder / shards.STATE / PLAN
    if path.exists():
        _compare(json.loads(path.read_bytes()), plan, folder)
    elif folder.exists() and {entry.name for entry in folder.iterdir()} - {shards.STATE}:
        raise UserError(
            f"{folder} contains files that prepare did not write; choose another --output"
        )
    else:
        with shards.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        shards.write_whole(path, json.dumps(plan))
    cuts = _cut(split.files, shard_mb * 2**20)
    names = [f"{split.name}-{k:05d}-of-{len(cuts):05d}.array_record" for k in range(len(cuts))]
    return [
        Shard(folder / name, split.root, files, shorter_side)
        for name, files in zip(names, cuts, strict=True)
    ]


def _compare(begun: dict, plan: dict, folder: Path) -> None:
    for name, value in plan.items():
        if begun.get(name) != value:
            difference = (
                "other files in --input, or with other labels"
                if name == "input"
                else f"--{name}={begun.get(name)}, not {value}"
            )
            raise UserError(f"{folder} was started with {difference}; choose another --output")


def _digest(split: Split) -> str:
    """A digest of what the records depend on: names, labels and sizes, not the files' location."""
    digest = hashlib.sha256(json.dumps(split.classes).encode())
    for file in split.files:
        digest.update(json.dumps([file.name, file.label, file.size]).encode())
    return digest.hexdigest()


def _cut(files: list[File], limit: float) -> list[list[File]]:
    """Splits the files, in order, into parts of nearly equal bytes."""
    total = sum(file.size for file in files)
    count = math.ceil(total / limit)
    cuts: dict[int, list[File]] = {}
    before = 0
    for file in files:
        cuts.setdefault(before * count // max(total, 1), []).append(file)
        before += file.size
    return list(cuts.values())
