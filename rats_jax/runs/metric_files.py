"""The files of a run's metrics: a JSONL, and TensorBoard events with pictures and texts."""

import json
import math
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from rats_jax.files import write_whole
from rats_jax.paths import printable
from rats_jax.runs.tensorboard import SummaryWriter
from rats_jax.runs.workdir import as_json, flat
from rats_jax.voice import say


class MetricFiles:
    """`workdir`/metrics.jsonl and `workdir`/tensorboard, written in the caller's thread; without a
    workdir, nothing is written.

    What they hold of steps after `start` is dropped, since these steps are repeated; at 0 that of
    step 0 as well.
    """

    def __init__(self, workdir: Path | None, *, start: int):
        self._events: list[SummaryWriter] = []
        self._files: list[SummaryWriter | _Lines] = []
        if workdir:
            file, kept = workdir / "metrics.jsonl", start or -1
            _forget_after(kept, file)
            self._events = [SummaryWriter(str(workdir / "tensorboard"), purge_step=kept + 1)]
            self._files = [*self._events, _Lines(file)]

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """One line, at once on the disk."""
        for file in self._files:
            file.write_scalars(step, scalars)
        for file in self._files:
            file.flush()

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """pictures: name -> uint8 [1, h, w, 3]. One that cannot be made a PNG is reported: a run is
        worth more than its pictures."""
        try:
            for events in self._events:
                events.write_images(step, pictures)
        except OSError:  # of the disk, as of any metric
            raise
        except Exception as error:
            say(f"warning: pictures of step {step} could not be written ({error})")

    def describe_start(self, config: ConfigDict, facts: Mapping[str, object], *, step: int) -> None:
        """Writes the config and what else fixes a start of a run as texts, a field a line."""
        texts = {"config": _listed(flat(as_json(config))), "run": _listed(facts)}
        for events in self._events:
            events.write_texts(step, texts)

    def close(self) -> None:
        for file in self._files:
            file.close()


class _Lines:
    """One JSON object a line: step, time (ISO 8601) and the scalars."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        # A value that is not finite is not JSON: null.
        values = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        self._file.write(json.dumps({"step": step, "time": now, **values}) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _listed(values: Mapping[str, object]) -> str:
    """Markdown: indented lines are shown as they are."""
    return "\n".join(printable(f"    {name} = {value}") for name, value in values.items())


def _forget_after(step: int, file: Path) -> None:
    """Drops the lines of later steps, and those that a kill or a power cut has damaged.

    Of a start from the beginning, which may be a mistake, the longest file is kept beside it.
    """
    old = file.with_suffix(".old.jsonl")
    if step < 0 and _size(file) > _size(old):
        shutil.copyfile(file, old)
        say(f"the run begins anew: its metrics from before are in {old}")
    text = file.read_text("utf-8", "replace") if file.exists() else ""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
    if kept != lines:
        write_whole(file, "".join(kept))


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf
