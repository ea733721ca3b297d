"""clu's metric writers without TensorFlow.

clu imports TensorFlow (1.4 GB, 2.5 s a start) for one class, its TensorBoard writer. Here that
class's module is filled, before clu looks for it, with one that writes the same events through
tensorboardX. Import `metric_writers` from here.
"""

import sys
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import tensorboardX


class SummaryWriter:
    """The part of clu's `MetricWriter` that has a meaning in TensorBoard; clu checks no type."""

    def __init__(self, logdir: str, *, purge_step: int | None = None):
        """purge_step: events of this step and later ones, of an earlier start, are forgotten."""
        self._writer = tensorboardX.SummaryWriter(logdir, purge_step=purge_step)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """images: name -> [batch, h, w, channels], uint8 or float in [0, 1]."""
        for name, value in images.items():
            self._writer.add_images(name, np.asarray(value), step, dataformats="NHWC")

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        for name, value in texts.items():
            self._writer.add_text(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


if "clu.metric_writers" not in sys.modules:
    _module = ModuleType("clu.metric_writers.summary_writer")
    _module.SummaryWriter = SummaryWriter
    sys.modules[_module.__name__] = _module

from clu import metric_writers  # noqa: E402

__all__ = ["SummaryWriter", "metric_writers"]
