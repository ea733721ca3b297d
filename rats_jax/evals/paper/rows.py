"""The rows of a table of scores, and those of the paper that could not be run."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from rats_jax.evals.paper.blocks import NOT_KNOWN, Block
from rats_jax.evals.paper.experiments import Experiment, variant_of
from rats_jax.evals.paper.inputs import Inputs
from rats_jax.evals.paper.numbers import COCO_SAM, FIVE_SETS, PAPER, UNKNOWN, find
from rats_jax.evals.paper.scores import CENTERED, NULLS, OURS, OfSet, all_of, mean_of_sets
from rats_jax.parts.region_metrics import HEADERS


def rows_of_models(
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
            known = [None, k] if is_all else [k]  # the last counts
            known_of = partial(_paper, experiment.name, row_name, known_k=known)
            rows += _rows(about, known_of, of_sets, (k, side), inputs.sam)
    return sorted(rows, key=lambda row: (row["K"], row["px"]))


def rows_of_regions(
    experiment: Experiment, inputs: Inputs, of_regions: Mapping[str, Mapping[str, OfSet]]
) -> list[dict[str, Any]]:
    rows = []
    for name, of_name in of_regions.items():
        known = {v.name.casefold(): v.name for v in experiment.variants if v.fits is None}
        row = known.get(name.casefold())
        about = {"K": "own", "px": None, "model": name, "paper's row": row}
        known_of = partial(_paper, experiment.name, row or "", known_k=[None])
        rows += _rows(about, known_of, _with_mean(of_name), ("own", None), inputs.sam)
    return rows


def _with_mean(of_sets: Mapping[str, OfSet]) -> dict[str, OfSet]:
    mean = {f"mean of {len(of_sets)} sets": mean_of_sets(list(of_sets.values()))}
    return dict(of_sets) | (mean if len(of_sets) > 1 else {})


def _paper(
    experiment: str, variant: str, score: str, *, known_k: Sequence[int | None], on: Sequence[str]
) -> float | str | None:
    """The paper's number; with the data if these are not the five sets. None if there is nothing to
    compare. on: which data it may be of."""
    found = {
        data: number
        for data in on
        for k in known_k
        if (number := find(experiment, variant, score, k=k, on=data)) is not None
    }
    if not found:
        return NOT_KNOWN if variant and FIVE_SETS in on else None
    if found.keys() == {FIVE_SETS}:
        return found[FIVE_SETS]
    return "; ".join(f"{number:g} ({data})" for data, number in found.items())


def _rows(
    about: Mapping[str, Any],
    paper: Callable[..., float | str | None],
    of_sets: Mapping[str, OfSet],
    place: tuple,
    sam: Collection[str],
) -> list[dict[str, Any]]:
    """A row for each score and data set. The paper's number is in the last of each score, the mean
    over the given sets or the only one; that of COCO is beside each data set with masks of SAM."""
    rows = []
    scores = next(iter(of_sets.values()))[place]
    for score in scores:
        for data, of_set in of_sets.items():
            on = [FIVE_SETS, UNKNOWN] if data == list(of_sets)[-1] else []
            on += [COCO_SAM] if data in sam else []
            rows.append(
                {
                    **about,
                    "data": data,
                    "score": score,
                    "paper": paper(score, on=on),
                    **of_set[place][score],
                }
            )
    return rows


def scores_block(rows: Sequence[dict], inputs: Inputs) -> Block:
    used = {column for row in rows for column in row}
    columns = ["K", "px", "model", "paper's row", "data", "score", "paper"]
    columns += [column for column in (OURS, CENTERED, *NULLS) if column in used]
    note = (
        "Percent; intervals of 95 %. The paper's numbers, if no data are named beside them, are "
        "means of five sets (COCO and ImageNet with SAM masks, ADE20K, ImageNet-S, PartImageNet) "
        "at 512 pixels: compare them with ours only if these were given. "
        f" Given: {', '.join(inputs.datasets)}."
    )
    return Block(columns, rows, note)


def missing(experiment: Experiment, inputs: Inputs, of_regions: Mapping[str, Mapping]) -> list[str]:
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
        of_variant = [x for x in PAPER if x[:2] == (experiment.name, variant.name)]
        known = [
            f"{number.measure} {number.value:g}"
            + (f" at K = {number.k}" if number.k else "")
            + (f" on {number.on}" if number.on != FIVE_SETS else "")
            for number in of_variant
            if number.measure in HEADERS.values()
        ]
        paper = f" (the paper: {', '.join(known)})" if known else ""
        lines.append(f"{variant.name}{paper}: needs {flag}{variant.how}")
    return lines


def _folded(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}
