"""Writes TensorBoard events by tensorboardX's encoder, without TensorFlow (1.4 GB, 2.5 s a start).

tensorboardX's own writer is not used: its thread dies if the disk is full or the clock is set back,
and then the caller blocks forever.
"""

import math
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from rats_jax.runs.metric_names import tag


class SummaryWriter:
    """Writes in the caller's thread."""

    def __init__(self, logdir: str, *, purge_step: int | None = None):
        """purge_step: events of an earlier start are dropped from this step on."""
        Path(logdir).mkdir(parents=True, exist_ok=True)
        # File names contain the second only: the suffix separates starts in the same second.
        self._writer = EventsWriter(str(Path(logdir) / "events"), f".{uuid.uuid4().hex[:8]}")
        if purge_step is not None:
            self._write(purge_step, session_log=SessionLog(status=SessionLog.START))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes under the names of `metric_names.tag`; skips values that are not finite."""
        for name, value in scalars.items():
            if math.isfinite(value):
                self._write(step, summary=summary.scalar(tag(name), float(value)))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """images: name -> [batch, h, w, channels], uint8 or float in [0, 1]."""
        for name, value in images.items():
            image = summary.image(name, np.asarray(value), dataformats="NHWC")
            self._write(step, summary=image)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """texts: name -> Markdown."""
        for name, value in texts.items():
            self._write(step, summary=summary.text(name, value))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, step: int, **content) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))
