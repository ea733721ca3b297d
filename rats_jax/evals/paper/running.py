"""Runs what the given checkpoints, data and label maps allow, and says what the rest needs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rats_jax.backbones import Backbone
from rats_jax.errors import UserError
from rats_jax.evals.paper.blocks import NOT_KNOWN, Block, Outcome
from rats_jax.evals.paper.cost import table_of_operations, table_of_variants
from rats_jax.evals.paper.curves import curves, kept_checkpoints
from rats_jax.evals.paper.experiments import Experiment, variant_of
from rats_jax.evals.paper.numbers import FIVE_SETS, PAPER, find
from rats_jax.evals.paper.scores import (
    CENTERED,
    NULLS,
    OURS,
    OfSet,
    Wanted,
    all_of,
    mean_of_sets,
    possible,
    scored,
    scored_regions,
)
from rats_jax.parts.datasets import PartDataset
from rats_jax.parts.saved_regions import SavedRegions, open_saved_regions
from rats_jax.resolution import default_resolution
from rats_jax.voice import say

SWEEP = (224, 384, 512, 768, 1024)


class Inputs(NamedTuple):
    """models, datasets: by their names. regions: NAME=DIR of other programs. resolution: of tables;
    None for the model's default. sweep: of Figure 7. measure, batch: time and memory in Table 3."""

    models: Mapping[str, Backbone]
    datasets: Mapping[str, PartDataset]
    regions: Sequence[str] = ()
    resolution: int | None = None
    sweep: Sequence[int] = SWEEP
    untrained: bool = True
    skip_broken: bool = False
    measure: bool = False
    batch: int = 4

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


def reproduce(experiments: Sequence[Experiment], inputs: Inputs) -> list[Outcome]:
    """Runs the experiments. Raises UserError for broken data and label maps."""
    saved = _open_regions(inputs) if any(_has_other_programs(e) for e in experiments) else {}
    of_models = _score_models([e for e in experiments if e.top_k], inputs)
    of_regions = {
        name: {
            data: scored_regions(maps, inputs.datasets[data], skip_broken=inputs.skip_broken)
            for data, maps in by_set.items()
        }
        for name, by_set in saved.items()
    }
    return [_outcome(e, inputs, of_models, of_regions) for e in experiments]


def _has_other_programs(experiment: Experiment) -> bool:
    return any(variant.fits is None for variant in experiment.variants)


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
        rows = _rows_of_models(experiment, inputs, of_models)
        if _has_other_programs(experiment):
            rows += _rows_of_regions(experiment, of_regions)
        if rows:
            blocks.append(_block(rows, inputs))
        not_run += _missing(experiment, inputs, of_regions)
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


def _rows_of_models(
    experiment: Experiment, inputs: Inputs, of_models: Mapping[str, Mapping[str, OfSet]]
) -> list[dict[str, Any]]:
    rows = []
    for name, backbone in inputs.models.items() if inputs.datasets else ():
        variant = variant_of(experiment, backbone)
        of_sets = _with_mean(of_models[name])
        for k, side in sorted(inputs.wanted(experiment, backbone)):
            is_all = k == all_of(backbone, resolution=side)
            about = {
                "K": k,
                "px": side,
                "model": name,
                "paper's row": variant.name if variant else None,
            }
            row_name = variant.name if variant else ""
            known = [k, None] if is_all else [k]
            rows += _rows(experiment, about, row_name, known, of_sets, (k, side))
    return sorted(rows, key=lambda row: (row["K"], row["px"]))


def _rows_of_regions(
    experiment: Experiment, of_regions: Mapping[str, Mapping[str, OfSet]]
) -> list[dict[str, Any]]:
    rows = []
    for name, of_name in of_regions.items():
        known = {v.name.casefold(): v.name for v in experiment.variants if v.fits is None}
        row = known.get(name.casefold())
        about = {"K": "own", "px": None, "model": name, "paper's row": row}
        rows += _rows(experiment, about, row or "", [None], _with_mean(of_name), ("own", None))
    return rows


def _with_mean(of_sets: Mapping[str, OfSet]) -> dict[str, OfSet]:
    mean = {f"mean of {len(of_sets)} sets": mean_of_sets(list(of_sets.values()))}
    return dict(of_sets) | (mean if len(of_sets) > 1 else {})


def _rows(
    experiment: Experiment,
    about: Mapping[str, Any],
    variant: str,
    known_k: Iterable[int | None],
    of_sets: Mapping[str, OfSet],
    place: tuple,
) -> list[dict[str, Any]]:
    """A row for each score and data set. The paper's number is in the last of each score: the mean
    over the given sets, or the only one."""
    rows = []
    scores = next(iter(of_sets.values()))[place]
    for score in scores:
        numbers = [find(experiment.name, variant, score, k=k, on=FIVE_SETS) for k in known_k]
        paper = next((x for x in numbers if x is not None), None)
        for data, of_set in of_sets.items():
            last = data == list(of_sets)[-1]
            rows.append(
                {
                    **about,
                    "data": data,
                    "score": score,
                    "paper": (NOT_KNOWN if paper is None else paper) if last else None,
                    **of_set[place][score],
                }
            )
    return rows


def _block(rows: Sequence[dict], inputs: Inputs) -> Block:
    used = {column for row in rows for column in row}
    columns = ["K", "px", "model", "paper's row", "data", "score", "paper"]
    columns += [column for column in (OURS, CENTERED, *NULLS) if column in used]
    note = (
        "Percent; intervals of 95 %. The paper's numbers are means of five sets (COCO and ImageNet "
        "with SAM masks, ADE20K, ImageNet-S, PartImageNet) at 512 pixels: compare them with ours "
        f"only if these were given. Given: {', '.join(inputs.datasets)}."
    )
    return Block(columns, rows, note)


def _missing(
    experiment: Experiment, inputs: Inputs, of_regions: Mapping[str, Mapping]
) -> list[str]:
    """What of the paper's rows could not be run, each with its known numbers and what it needs."""
    lines, there = [], set()
    if inputs.datasets:
        fitting = [variant_of(experiment, backbone) for backbone in inputs.models.values()]
        there = {variant.name for variant in fitting if variant}
        there |= {v.name for v in experiment.variants if v.name.casefold() in _folded(of_regions)}
    else:
        lines = ["all scores: need --data=KIND:PATH, images with part masks"]
    for variant in experiment.variants:
        if variant.name in there:
            continue
        flag = "" if variant.fits is None else "--checkpoint of "
        known = [
            f"{number.measure} {number.value:g}" + (f" at K = {number.k}" if number.k else "")
            for number in PAPER
            if number[:2] == (experiment.name, variant.name)
        ]
        paper = f" (the paper: {', '.join(known)})" if known else ""
        lines.append(f"{variant.name}{paper}: needs {flag}{variant.how}")
    return lines


def _folded(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}
