"""What rats reproduce was given: checkpoints, data, label maps, and how to measure them."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from rats_jax.backbones import Backbone
from rats_jax.evals.paper.experiments import Experiment
from rats_jax.evals.paper.scores import Wanted, possible
from rats_jax.parts.datasets import PartDataset
from rats_jax.resolution import default_resolution

SWEEP = (224, 384, 512, 768, 1024)


class Inputs(NamedTuple):
    """models, datasets: by their names. regions: NAME=DIR of other programs. resolution: of tables;
    None for the model's default. sweep: of Figure 7. measure, batch: time and memory in Table 3.
    sam: the names of the data sets with masks of SAM."""

    models: Mapping[str, Backbone]
    datasets: Mapping[str, PartDataset]
    regions: Sequence[str] = ()
    resolution: int | None = None
    sweep: Sequence[int] = SWEEP
    untrained: bool = True
    skip_broken: bool = False
    measure: bool = False
    batch: int = 4
    sam: Collection[str] = ()

    def resolutions(self, experiment: Experiment, backbone: Backbone) -> tuple[int, ...]:
        """At which resolutions an experiment scores a model: multiples of its patch."""
        if not experiment.sweep:
            return (self.resolution or default_resolution(backbone.options),)
        patch = backbone.options.patch
        return tuple(sorted({max(round(side / patch), 1) * patch for side in self.sweep}))

    def wanted(self, experiment: Experiment, backbone: Backbone) -> set[Wanted]:
        return {
            Wanted(k, side)
            for side in self.resolutions(experiment, backbone)
            for k in possible(experiment.top_k, backbone, resolution=side)
        }
