"""The metric files of a run: a JSONL file, and TensorBoard events with pictures and texts."""

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

    Existing entries of steps after `start` are dropped, since these steps are repeated. If `start`
    is 0, those of step 0 are dropped too.
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
        """Writes one line and flushes it."""
        for file in self._files:
            file.write_scalars(step, scalars)
        for file in self._files:
            file.flush()

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """pictures: name -> uint8 [1, h, w, 3]. If one cannot be encoded as PNG, this is reported
        and the run continues."""
        try:
            for events in self._events:
                events.write_images(step, pictures)
        except OSError:  # a disk error ends the run, as for any metric
            raise
        except Exception as error:
            say(f"warning: pictures of step {step} could not be written ({error})")

    def describe_start(self, config: ConfigDict, facts: Mapping[str, object], *, step: int) -> None:
        """Writes the config and the other facts of a start as texts, one field per line."""
        texts = {"config": _listed(flat(as_json(config))), "run": _listed(facts)}
        for events in self._events:
            events.write_texts(step, texts)

    def close(self) -> None:
        for file in self._files:
            file.close()


class _Lines:
    """One JSON object per line: step, time (ISO 8601) and the scalars."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        # JSON has no values that are not finite: they become null.
        values = {k: v if math.isfinite(v) else None for k, v in scalars.items()}
        self._file.write(json.dumps({"step": step, "time": now, **values}) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _listed(values: Mapping[str, object]) -> str:
    """Markdown with indented lines, which are displayed verbatim."""
    return "\n".join(printable(f"    {name} = {value}") for name, value in values.items())


def _forget_after(step: int, file: Path) -> None:
    """Drops the lines of later steps, and lines damaged by a kill or a power failure.

    A start from the beginning may be a mistake, so it keeps the longest earlier file as a copy.
    """
    old = file.with_suffix(".old.jsonl")
    if step < 0 and _size(file) > _size(old):
        shutil.copyfile(file, old)
        say(f"the run starts from the beginning: its earlier metrics are in {old}")
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
