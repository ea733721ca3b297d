"""A run whose directory is open."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.data.sources import Source
from rats_jax.dino.step import DINO
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.events import Events
from rats_jax.runs.online.evaluation import OnlineEvaluation
from rats_jax.runs.version import code_version, package_versions
from rats_jax.runs.workdir import check_in_place


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """The components of a run, and its directory.

    data: what identifies the images of `source`, as `same_data.data_facts`.
    """

    config: ConfigDict
    source: Source
    data: Mapping
    dino: DINO
    mesh: Mesh
    evaluation: OnlineEvaluation | None
    folder: Path
    checkpoints: Checkpoints
    events: Events

    @cached_property
    def about(self) -> dict:
        """The facts of the run that every checkpoint stores."""
        config = self.config
        about = {
            "config": config.to_dict(),
            "code": code_version(),
            "packages": package_versions(),
            "data": {
                **self.data,
                "seed": config.seed,
                "batch_size": config.optimizer.batch_size,
            },
        }
        return about | ({"evaluation": self.evaluation.about} if self.evaluation else {})

    def save(self, step: int, state: dict, *, metrics: Mapping[str, float]) -> None:
        """Starts to save the state after `step` steps, with the position in the order of images."""
        check_in_place(self.folder)
        position = step * self.config.optimizer.batch_size
        about = self.about | {"data": {**self.about["data"], "position": position}}
        self.checkpoints.save(step, state, about=about, metrics=metrics)
