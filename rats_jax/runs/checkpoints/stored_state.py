"""Reads and writes the files of one checkpoint, and verifies them when read.

Orbax writes arrays as zarr in an OCDBT database, and tensorstore reads them. Orbax's own reader
waits for the other processes, which may have failed, and leaves tasks that print messages about a
damaged file much later.

meta/metadata is JSON: "about", as given by the run; "metrics"; "arrays": path -> dtype, shape and
fingerprint; "sha256" of all these.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import orbax.checkpoint as ocp
import tensorstore as ts

from rats_jax.errors import UserError
from rats_jax.runs.checkpoints.fingerprint import fingerprints, named_leaves


class DamagedCheckpoint(Exception):
    """A checkpoint differs from what was saved; the message says where."""


def handler() -> ocp.CompositeCheckpointHandler:
    """The orbax handler that writes the format read here."""
    return ocp.CompositeCheckpointHandler(
        state=ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False, use_compression=False),
        meta=ocp.JsonCheckpointHandler(),
    )


def items(state: dict, about: dict, metrics: Mapping[str, float]) -> ocp.args.Composite:
    """The items to save. Waits for the state and reads it once on its devices."""
    marks = fingerprints(state)
    meta = {
        "about": about,
        "metrics": {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()},
        "arrays": {path: {**kind, "fingerprint": marks[path]} for path, kind in _kinds(state)},
    }
    return ocp.args.Composite(
        state=ocp.args.PyTreeSave(state),
        meta=ocp.args.JsonSave({**meta, "sha256": _digest(meta)}),
    )


def read_meta(folder: Path) -> dict:
    """The metadata of the checkpoint in `folder`. Raises DamagedCheckpoint."""
    try:
        meta = json.loads((folder / "meta" / "metadata").read_text("utf-8"))
        digest = meta.pop("sha256")
    except OSError as error:
        raise DamagedCheckpoint(f"meta/metadata: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, KeyError):
        digest = meta = None
    if digest != _digest(meta):
        raise DamagedCheckpoint("meta/metadata differs from what was saved")
    return meta


def compare(meta: dict, like: dict, folder: Path, *, whole: bool) -> None:
    """Raises UserError if the checkpoint lacks arrays of `like` or, if `whole`, has others."""
    there, here = meta["arrays"], dict(_kinds(like))
    for path in sorted(there | here if whole else here):
        is_there, is_here = (
            f"{kind['dtype']}{kind['shape']}" if (kind := arrays.get(path)) else "missing"
            for arrays in (there, here)
        )
        if is_there != is_here:
            raise UserError(
                f"{folder} contains a different state: {path} is {is_there} there and {is_here} "
                "here; choose another workdir, or use the code that wrote it"
            )


def read_arrays(folder: Path, like: dict) -> dict:
    """The arrays of `like` in its shardings. Each process reads its own part.

    Raises DamagedCheckpoint for what cannot be read. Values may still be wrong, see `verify`.
    """
    context = ts.Context()
    leaves = [(path, x, _open(folder / "state", path, context)) for path, x in named_leaves(like)]
    # Start all reads before waiting for the first.
    leaves = [(path, x, _start(path, x, opening)) for path, x, opening in leaves]
    return jax.tree.unflatten(jax.tree.structure(like), [_assemble(*leaf) for leaf in leaves])


def verify(meta: dict, state: dict) -> None:
    """Raises DamagedCheckpoint, in all processes, if an array differs from what was saved."""
    bad = [p for p, mark in fingerprints(state).items() if mark != meta["arrays"][p]["fingerprint"]]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DamagedCheckpoint(f"{bad[0]}{more}: differs from what was saved")


def _open(folder: Path, path: str, context: ts.Context) -> ts.Future:
    database = {"driver": "file", "path": f"{os.path.realpath(folder)}/"}  # refuses ".."
    return ts.open(
        {
            "driver": "zarr",
            "kvstore": {"driver": "ocdbt", "base": database, "path": path.replace("/", ".") + "/"},
            "fill_missing_data_reads": False,
            "recheck_cached_data": False,
        },
        open=True,
        read=True,
        context=context,
    )


def _start(path: str, x: jax.ShapeDtypeStruct, opening: ts.Future) -> dict[str, ts.Future]:
    """Starts to read every part of the array that is on devices of this process."""
    stored = _result(path, opening)
    if stored.shape != x.shape or stored.dtype.numpy_dtype != x.dtype:
        raise DamagedCheckpoint(f"{path}: wrong shape or type")
    parts = x.sharding.addressable_devices_indices_map(x.shape).values()
    return {str(part): stored[part].read() for part in parts}


def _assemble(path: str, x: jax.ShapeDtypeStruct, reads: dict[str, ts.Future]) -> jax.Array:
    return jax.make_array_from_callback(
        x.shape, x.sharding, lambda part: _result(path, reads[str(part)])
    )


def _result(path: str, future: ts.Future):
    try:
        return future.result()
    except ValueError as error:  # of tensorstore
        # "NOT_FOUND: Error opening ...: Error reading ...: what it is [source locations=..."
        reason = re.split(r" \[[\w ]+(?:\[\d+\])?=", str(error))[0].rpartition(": ")[2]
        raise DamagedCheckpoint(f"{path}: {reason}") from None


def _kinds(tree) -> list[tuple[str, dict]]:
    return [
        (path, {"dtype": str(x.dtype), "shape": list(x.shape)}) for path, x in named_leaves(tree)
    ]


def _digest(meta: dict) -> str:
    """A digest of the values after a round trip through JSON."""
    text = json.dumps(json.loads(json.dumps(meta)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
