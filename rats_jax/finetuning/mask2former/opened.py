"""A run whose directory is open, with its model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rats_jax.data.samples import Samples
from rats_jax.finetuning.mask2former.checkpoints import TorchCheckpoints
from rats_jax.finetuning.mask2former.evaluation import Evaluation
from rats_jax.finetuning.mask2former.processes import Processes
from rats_jax.finetuning.mask2former.state import state_of
from rats_jax.finetuning.mask2former.step import TrainStep
from rats_jax.runs.events import Events
from rats_jax.runs.workdir import check_in_place
from rats_jax.segmentation.datasets import SegmentationSource


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """The components of a run, in each process. about: the facts that checkpoints record.
    unscored: the metrics of the checkpoint at the start if the evaluation after this step was
    interrupted; else None."""

    config: ConfigDict
    folder: Path
    processes: Processes
    source: SegmentationSource
    samples: Samples
    evaluation: Evaluation
    train_step: TrainStep
    checkpoints: TorchCheckpoints
    events: Events
    about: Mapping[str, Any]
    unscored: Mapping[str, float] | None = None

    def save(self, step: int, metrics: Mapping[str, float]) -> None:
        """The first process writes a checkpoint; the others wait for it."""
        if self.processes.is_first:
            check_in_place(self.folder)
            scaler = self.processes.accelerator.scaler
            self.checkpoints.save(
                state_of(self.train_step, step, scaler=scaler, metrics=metrics, about=self.about)
            )
        self.processes.agree()
