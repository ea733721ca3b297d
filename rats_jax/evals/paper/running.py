"""Runs what the given checkpoints, data and label maps allow, and says what the rest needs."""

from collections.abc import Mapping, Sequence

from rats_jax.errors import UserError
from rats_jax.evals.paper.blocks import Block, Outcome
from rats_jax.evals.paper.cost import table_of_operations, table_of_variants
from rats_jax.evals.paper.curves import curves, kept_checkpoints
from rats_jax.evals.paper.experiments import Experiment
from rats_jax.evals.paper.inputs import Inputs
from rats_jax.evals.paper.rows import missing, rows_of_models, rows_of_regions, scores_block
from rats_jax.evals.paper.scores import OfSet, scored, scored_regions
from rats_jax.parts.saved_regions import SavedRegions, open_saved_regions
from rats_jax.resolution import default_resolution
from rats_jax.voice import say


def reproduce(experiments: Sequence[Experiment], inputs: Inputs) -> list[Outcome]:
    """Runs the experiments. Raises UserError for broken data and label maps."""
    saved = _open_regions(inputs) if any(e.has_other_programs for e in experiments) else {}
    of_models = _score_models([e for e in experiments if e.top_k], inputs)
    of_regions = {
        name: {
            data: scored_regions(maps, inputs.datasets[data], skip_broken=inputs.skip_broken)
            for data, maps in by_set.items()
        }
        for name, by_set in saved.items()
    }
    return [_outcome(e, inputs, of_models, of_regions) for e in experiments]


def _open_regions(inputs: Inputs) -> dict[str, dict[str, SavedRegions]]:
    """Label maps by name and data set. With several data sets, a folder may be for some of them."""
    found: dict[str, dict[str, SavedRegions]] = {}
    for spec in inputs.regions:
        problems = []
        for data, dataset in inputs.datasets.items():
            names = [entry.name for entry in dataset.entries if not entry.fault]
            try:
                (maps,) = open_saved_regions([spec], names, skip_broken=inputs.skip_broken)
            except UserError as error:
                problems.append(error)
                continue
            if data in found.setdefault(maps.name, {}):
                raise UserError(f"--regions={spec}: {maps.name} is given twice for {data}")
            found[maps.name][data] = maps
        if problems and len(problems) == len(inputs.datasets):
            raise problems[0]
    return found


def _score_models(experiments: Sequence[Experiment], inputs: Inputs) -> dict[str, dict[str, OfSet]]:
    """Scores by model and data set, of all numbers of regions that any experiment asks for."""
    found: dict[str, dict[str, OfSet]] = {}
    for name, backbone in inputs.models.items() if experiments else ():
        wanted = set().union(*(inputs.wanted(e, backbone) for e in experiments))
        say(f"scoring {name}")
        found[name] = {
            data: scored(
                backbone,
                dataset,
                wanted,
                untrained=inputs.untrained,
                skip_broken=inputs.skip_broken,
            )
            for data, dataset in inputs.datasets.items()
        }
    return found


def _outcome(
    experiment: Experiment,
    inputs: Inputs,
    of_models: Mapping[str, Mapping[str, OfSet]],
    of_regions: Mapping[str, Mapping[str, OfSet]],
) -> Outcome:
    blocks: list[Block] = []
    not_run: list[str] = []
    if experiment.name == "table 3":
        blocks.append(table_of_variants(measure=inputs.measure, batch=inputs.batch))
    if experiment.name == "figure 6":
        blocks.append(table_of_operations())
    if experiment.name == "figure 8":
        blocks += _figure_8(inputs, not_run)
    if experiment.top_k:
        rows = rows_of_models(experiment, inputs, of_models)
        if experiment.has_other_programs:
            rows += rows_of_regions(experiment, inputs, of_regions)
        if rows:
            blocks.append(scores_block(rows, inputs))
        not_run += missing(experiment, inputs, of_regions)
    return Outcome(experiment.name, experiment.title, experiment.assumed, blocks, not_run)


def _figure_8(inputs: Inputs, not_run: list[str]) -> list[Block]:
    blocks: list[Block | None] = []
    for name, backbone in inputs.models.items():
        found = curves(name, backbone)
        blocks.append(found)
        if found is None:
            not_run.append(
                f"the curve of {name}: needs the workdir of a run with config.evaluation.parts"
            )
        for dataset in inputs.datasets.values():
            side = inputs.resolution or default_resolution(backbone.options)
            blocks.append(
                kept_checkpoints(
                    name, backbone, dataset, resolution=side, skip_broken=inputs.skip_broken
                )
            )
    if not inputs.models:
        not_run.append("needs --checkpoint=NAME=WORKDIR, a run")
    return [block for block in blocks if block is not None]
