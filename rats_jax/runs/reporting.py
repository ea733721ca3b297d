"""What a run tells while it goes on: TensorBoard events, a JSONL beside them, and lines to read."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import jax
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from rats_jax.paths import printable
from rats_jax.runs.tensorboard import SummaryWriter, metric_writers
from rats_jax.runs.workdir import as_json, flat
from rats_jax.voice import say

#: Metrics reported as they are at a step, where others are averaged over those before.
AS_THEY_ARE = (
    *("learning_rate", "weight_decay", "teacher_momentum", "teacher_temperature"),
    *("skipped_steps", "skipped_in_a_row"),
)


class JsonlWriter(metric_writers.MetricWriter):
    """One JSON object a line: step, time (ISO 8601) and the scalars. Other kinds are not kept."""

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

    def _ignore(self, *_, **__) -> None:
        pass

    write_summaries = write_images = write_videos = write_audios = _ignore
    write_texts = write_histograms = write_hparams = _ignore


def open_writer(workdir: Path | None, *, start: int) -> metric_writers.MetricWriter:
    """Writes to `workdir`/tensorboard and `workdir`/metrics.jsonl, in this process's thread; to
    nothing without a workdir. What stands there of steps after `start` goes, for they come again;
    at 0 that of step 0 as well."""
    if workdir is None:
        return metric_writers.MultiWriter([])
    file = workdir / "metrics.jsonl"
    kept = start or -1
    _forget_after(kept, file)
    events = SummaryWriter(str(workdir / "tensorboard"), purge_step=kept + 1)
    return metric_writers.MultiWriter([events, JsonlWriter(file)])


def describe_start(
    writer: metric_writers.MetricWriter,
    config: ConfigDict,
    facts: Mapping[str, object],
    *,
    step: int,
) -> None:
    """Writes the config and what else fixes a start of a run as texts, a field a line."""
    texts = {"config": flat(as_json(config)), "run": facts}
    writer.write_texts(step, {name: _listed(values) for name, values in texts.items()})


def write_pictures(
    writer: metric_writers.MetricWriter, step: int, pictures: Mapping[str, np.ndarray]
) -> None:
    """pictures: name -> uint8 [1, h, w, 3]. One that cannot be made a PNG is said: a run is worth
    more than its pictures."""
    try:
        writer.write_images(step, pictures)
    except OSError:  # of the disk, as of any metric
        raise
    except Exception as error:
        say(f"warning: pictures of step {step} could not be written ({error})")


def _listed(values: Mapping[str, object]) -> str:
    """Markdown: indented lines are shown as they are."""
    return "\n".join(printable(f"    {name} = {value}") for name, value in values.items())


def _forget_after(step: int, file: Path) -> None:
    """Drops the lines of later steps, and those that a kill or a power cut has spoilt.

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
        new = file.with_suffix(".new")
        new.write_text("".join(kept), "utf-8")
        new.replace(file)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf


class Progress:
    """Gathers the steps between two reports.

    Metrics stay on the device until the report; `add` waits for the step before the last, so that
    the host runs one step ahead and no more.
    """

    def __init__(self, *, batch_size: int, steps: int, steps_per_epoch: int):
        self._batch_size, self._steps, self._steps_per_epoch = batch_size, steps, steps_per_epoch
        self._metrics: list[dict] = []
        self._start: float | None = None
        self._timed = 0

    def add(self, metrics: dict) -> None:
        """The metrics of one more step, perhaps not yet computed."""
        if self._metrics:
            jax.block_until_ready(self._metrics[-1])
        self._metrics.append(metrics)
        if self._start is None:  # the first step is slower: the clock starts after it
            jax.block_until_ready(metrics)
            self._start = time.perf_counter()
        else:
            self._timed += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time that the block takes does not count; the steps before it do, to their end."""
        jax.block_until_ready(self._metrics)
        began = time.perf_counter()
        yield
        self._start += time.perf_counter() - began

    def report(self, step: int, *, seconds_waited: float) -> dict[str, float]:
        """Scalars of the interval that ends with `step` steps taken; starts the next interval."""
        metrics = jax.device_get(self._metrics)
        applied = [m for m in metrics if not m["skipped_in_a_row"]] or metrics
        scalars = {
            name: float(metrics[-1][name])
            if name in AS_THEY_ARE
            else float(np.mean([m[name] for m in applied], dtype=np.float64))
            for name in metrics[0]
        }
        now = time.perf_counter()
        seconds = now - self._start
        scalars["epoch"] = step / self._steps_per_epoch
        if self._timed:
            scalars["images_per_second"] = self._timed * self._batch_size / seconds
            scalars["input_wait"] = min(seconds_waited / seconds, 1.0)
            scalars["seconds_left"] = seconds / self._timed * (self._steps - step)
        self._metrics, self._start, self._timed = [], now, 0
        return scalars

    def line(self, step: int, scalars: dict[str, float]) -> str:
        """The interval as a line to read."""
        parts = [
            f"step {step}/{self._steps}",
            f"epoch {scalars['epoch']:.2f}",
            f"loss {scalars['loss']:.4f}",
            f"teacher entropy {scalars['teacher_entropy']:.3f}",
            f"KL {scalars['kl']:.4f}",
            f"center {scalars['center_norm']:.2f}",
            f"lr {scalars['learning_rate']:.2e}",
        ]
        if "images_per_second" in scalars:
            parts += [
                f"{scalars['images_per_second']:.1f} images/s",
                f"input wait {scalars['input_wait']:.0%}",
                f"left {duration(scalars['seconds_left'])}",
            ]
        return "  ".join(parts)


def say_parameters(student: dict) -> None:
    """Counts of what is trained."""
    counts = {name: parameter_overview.count_parameters(tree) for name, tree in student.items()}
    say("parameters: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 12 min 30 s, 3 h 20 min, 5 d 4 h."""
    seconds = round(seconds)
    for unit, name, lesser, lesser_name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit:
            return f"{seconds // unit} {name} {seconds % unit // lesser} {lesser_name}"
    return f"{seconds} s"
