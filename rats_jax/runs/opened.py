"""A run: its components, and its directory once that is open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jax.sharding import Mesh
from ml_collections import ConfigDict

from rats_jax.data.sources import Source
from rats_jax.runs.checkpoints.checkpoint import Checkpoints
from rats_jax.runs.checkpoints.retention import rules_of
from rats_jax.runs.events import Events
from rats_jax.runs.initial.initial import Initial
from rats_jax.runs.method import Method
from rats_jax.runs.online.evaluation import OnlineEvaluation
from rats_jax.runs.version import code_version, package_versions
from rats_jax.runs.workdir import check_in_place


@dataclass(frozen=True, kw_only=True)
class Run:
    """The components of a run.

    source: the training images. data: what identifies them, as `same_data.data_facts`. initial:
    what a new state has from given weights. automatic: why automatic fields have their values, by
    field.
    """

    config: ConfigDict
    method: Method
    mesh: Mesh
    source: Source
    data: Mapping
    evaluation: OnlineEvaluation | None = None
    initial: Initial | None = None
    automatic: Mapping[str, str] = field(default_factory=dict)

    @property
    def measures(self) -> dict[str, dict]:
        """What evaluations measure, as `OnlineEvaluation.about`; empty without one."""
        return self.evaluation.about if self.evaluation else {}

    def open_checkpoints(self, folder: Path) -> Checkpoints:
        """Those in the directory of the run."""
        rules = rules_of(self.config, self.method.schedules)
        return Checkpoints(
            folder,
            save_every=self.config.run.checkpoint_every,
            keep=rules.newest,
            keep_every=rules.every,
            keep_best=rules.best,
            best_metric=rules.metric,
            best_is=self.config.run.best_is,
        )


@dataclass(frozen=True, kw_only=True)
class OpenRun(Run):
    """A run whose directory is open."""

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
        return about | ({"evaluation": self.measures} if self.evaluation else {})

    def save(self, step: int, state: dict, *, metrics: Mapping[str, float]) -> None:
        """Starts to save the state after `step` steps, with the position in the order of images."""
        check_in_place(self.folder)
        position = step * self.config.optimizer.batch_size
        about = self.about | {"data": {**self.about["data"], "position": position}}
        self.checkpoints.save(step, state, about=about, metrics=metrics)
