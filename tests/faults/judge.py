"""What a run has left in its workdir, read without the code that wrote it."""

import json
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

#: What two equal runs may differ in: measurements by the clock, and the count of a list that what
#: was cut off has written to as well.
NOT_JUDGED = {"time", "images_per_second", "input_wait", "seconds_left", "unreadable_images"}


def metrics(workdir: Path) -> list[dict]:
    """The lines of metrics.jsonl, of what must repeat."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in NOT_JUDGED} for line in lines]


def events(workdir: Path, name: str) -> list[dict]:
    """The events of a name in events.jsonl."""
    lines = (workdir / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def batch(folder: Path, step: int) -> tuple[list[int], list[int]]:
    """Rows and images of a batch, from all processes that the victim's `record` has seen."""
    rows, indices = [], []
    for file in folder.glob(f"{step}.*"):
        ours = json.loads(file.read_text())
        rows += ours[0]
        indices += ours[1]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return [rows[i] for i in order], [indices[i] for i in order]


def complete(workdir: Path) -> list[int]:
    """Steps of the checkpoints that bear their final name, rising."""
    folder = workdir / "checkpoints"
    found = folder.iterdir() if folder.exists() else ()
    return sorted(int(path.name) for path in found if path.name.isdecimal())


def unfinished(workdir: Path) -> list[str]:
    """What a save, or a file that is written beside the old one, leaves when it is cut short."""
    return sorted(
        str(path.relative_to(workdir))
        for path in workdir.rglob("*")
        if "checkpoint-tmp" in path.name or path.suffix in (".new", ".removed")
    )


def state(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, by its path; by default of the newest."""
    folder = workdir / "checkpoints" / str(step or complete(workdir)[-1])
    (item,) = (path.parent for path in folder.glob("*/_METADATA"))
    reader = ocp.PyTreeCheckpointer()
    names = reader.metadata(item).item_metadata.tree
    arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
    tree = reader.restore(item, restore_args=arguments)
    return flat(tree)


def flat(tree) -> dict[str, np.ndarray]:
    """The arrays of a state by their paths."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(x)
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> list[str]:
    """The names of the arrays that are not equal to the last bit, or only in one of the two."""
    return [
        name
        for name in sorted(ours | theirs)
        if name not in ours
        or name not in theirs
        or ours[name].dtype != theirs[name].dtype
        or ours[name].shape != theirs[name].shape
        or ours[name].tobytes() != theirs[name].tobytes()
    ]


def unequal(workdir: Path, reference: Path) -> list[str]:
    """In what a finished run differs from the uninterrupted one; empty if in nothing."""
    found = [f"{name} differs" for name in differences(state(workdir), state(reference))]
    ours, theirs = metrics(workdir), metrics(reference)
    steps = [row["step"] for row in ours]
    if steps != [row["step"] for row in theirs]:
        found.append(f"metrics.jsonl has the steps {steps}")
    elif ours != theirs:
        first = next(a["step"] for a, b in zip(ours, theirs, strict=True) if a != b)
        found.append(f"metrics.jsonl differs from step {first} on")
    if unfinished(workdir):
        found.append(f"{unfinished(workdir)} left over")
    return found
