"""Scores of checkpoints on data sets, each measured once for all experiments that show it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rats_jax.backbones import Backbone
from rats_jax.evals.differences import TRAINED, UNTRAINED, from_untrained
from rats_jax.evals.paper.blocks import Interval
from rats_jax.evals.paper.experiments import ALL
from rats_jax.evals.part_evaluation import evaluate_parts
from rats_jax.evals.part_scores import summarised
from rats_jax.parts.datasets import PartDataset
from rats_jax.parts.region_counts import registers_of
from rats_jax.parts.region_metrics import HEADERS, MeanScores
from rats_jax.parts.saved_regions import SavedRegions
from rats_jax.parts.ways import RegionOptions
from rats_jax.voice import say

#: Columns of a row: ours, and the nulls beside it.
OURS, CENTERED = "ours", "ours, centered"
GAIN = "ours - untrained"  # paired: both on the same images
NULLS = ("untrained", GAIN, "k-means", "grid", "SLIC")
_NONE = Interval(math.nan)
SCORES = "m2o", "o2o", "ari"  # those of the paper


class Wanted(NamedTuple):
    """A number of regions and a resolution that an experiment asks for."""

    k: int
    resolution: int


#: (K, resolution) -> score (M2O, ...) -> column -> value, for one data set.
OfSet = dict[tuple, dict[str, dict[str, Interval]]]


def all_of(backbone: Backbone, *, resolution: int) -> int:
    """What ALL means as a number of regions: all registers, or for a ViT its heads."""
    options = backbone.options
    registers = registers_of(options)
    return min(registers or options.heads, options.patches(resolution))


def possible(top_k: Iterable[int], backbone: Backbone, *, resolution: int) -> list[int]:
    """The numbers of regions that a model can have at a resolution. A ViT's heads and plain
    registers are always added: only then does it have regions of its own."""
    options = backbone.options
    registers = registers_of(options)
    patches = options.patches(resolution)
    most = patches if registers is None else min(registers, patches)
    every = all_of(backbone, resolution=resolution)
    own = {options.heads, options.registers} - {0, 1} if registers is None else set()
    return sorted({every if k == ALL else k for k in {*top_k, *own}} & {*range(1, most + 1)})


def scored(
    backbone: Backbone,
    dataset: PartDataset,
    wanted: Iterable[Wanted],
    *,
    untrained: bool,
    skip_broken: bool,
) -> OfSet:
    """All scores of a model on a data set, beside its untrained twin if it is from a run."""
    models = {"model": backbone}
    if untrained and backbone.config is not None:
        models["untrained"] = backbone.before_training()
    found: OfSet = {}
    by_side: dict[int, set[int]] = {}
    for k, side in wanted:
        by_side.setdefault(side, set()).add(k)
    for side, top_k in sorted(by_side.items()):
        say(f"{dataset.name}, {side} px, {', '.join(map(str, sorted(top_k)))} regions")
        evaluated = evaluate_parts(
            models,
            dataset,
            top_k=sorted(top_k),
            resolutions=(side,),
            options=RegionOptions(),
            saved=(),
            skip_broken=skip_broken,
        )
        results = summarised(evaluated.images)
        gains = from_untrained([image.rows for image in evaluated.images])
        for k in top_k:
            found[k, side] = _columns(
                {result.row.way: result.scores for result in results if result.row.k == k},
                {gain.minuend: gain.scores for gain in gains if gain.k == k},
            )
    return found


def scored_regions(saved: SavedRegions, dataset: PartDataset, *, skip_broken: bool) -> OfSet:
    """Scores of label maps that another program wrote, and of nulls with as many regions."""
    evaluated = evaluate_parts(
        {},
        dataset,
        top_k=(),
        resolutions=(),
        options=RegionOptions(),
        saved=[saved],
        skip_broken=skip_broken,
    )
    of_way = {result.row.way: result.scores for result in summarised(evaluated.images)}
    named = {OURS: of_way[saved.name]}
    named |= {null: of_way[f"{null} like {saved.name}"] for null in ("grid", "SLIC")}
    return {("own", None): _by_score(named)}


def _columns(
    of_k: Mapping[str, MeanScores], gains: Mapping[str, MeanScores]
) -> dict[str, dict[str, Interval]]:
    """The columns at one K, from scores by way, and from differences to the untrained model."""
    of_model = [way.removeprefix(TRAINED) for way in of_k if way.startswith(TRAINED)]
    main = next((way for way in of_model if way not in ("k-means", "centered registers")), None)
    ways = {
        OURS: f"{TRAINED}{main}",
        CENTERED: f"{TRAINED}centered registers",
        "untrained": f"{UNTRAINED}{main}",
        "k-means": f"{TRAINED}k-means",
        "grid": "grid",
        "SLIC": "SLIC",
    }
    columns = {name: of_k[way] for name, way in ways.items() if way in of_k}
    if ways[OURS] in gains:
        columns[GAIN] = gains[ways[OURS]]
    return _by_score(columns)


def _by_score(columns: Mapping[str, MeanScores]) -> dict[str, dict[str, Interval]]:
    return {
        header: {
            column: Interval(*(getattr(end, score) for end in of[:3]), signed=column == GAIN)
            for column, of in columns.items()
        }
        for score, header in ((name, HEADERS[name]) for name in SCORES)
    }


def mean_of_sets(of_sets: Sequence[OfSet]) -> OfSet:
    """Means over data sets, each of which counts the same, for what all of them have."""
    found: OfSet = {}
    for place in of_sets[0]:
        if all(place in of_set for of_set in of_sets):
            found[place] = {
                score: {
                    column: Interval(
                        float(np.mean([s[place][score].get(column, _NONE).mean for s in of_sets])),
                        signed=column == GAIN,
                    )
                    for column in columns
                }
                for score, columns in of_sets[0][place].items()
            }
    return found
