"""How the scores of a run develop (Figure 8), from its metrics and its checkpoints."""

from pathlib import Path

from rats_jax.backbones import Backbone, open_backbone
from rats_jax.evals.paper.blocks import Block, Interval
from rats_jax.evals.paper.numbers import PEAK
from rats_jax.evals.paper.scores import GAIN, NULLS, OURS, Wanted, all_of, scored
from rats_jax.parts.datasets import PartDataset
from rats_jax.runs.checkpoints.steps import steps_in
from rats_jax.runs.history import Point, pieces, read_lines
from rats_jax.runs.metric_names import display_name

REGIONS = 33


def curves(name: str, backbone: Backbone) -> Block | None:
    """The first, best and last value of each score of parts in the metrics of a run; None if it has
    none."""
    rows = []
    for metric, found in _curves(backbone).items():
        first, last = found[0], found[-1]
        best = max(found, key=lambda point: point.value)
        rows.append(
            {
                "run": name,
                "score": display_name(metric),
                "points": len(found),
                "first": Interval(first.value),
                "at epoch": round(first.epoch, 2),
                "highest": Interval(best.value),
                "at": round(best.epoch, 2),
                "last": Interval(last.value),
                "epoch": round(last.epoch, 2),
                "paper": PEAK,
            }
        )
    if not rows:
        return None
    note = f"From the run's metrics.jsonl; the curves are drawn in {name}'s dynamics.png."
    return Block(list(rows[0]), rows, note)


def _curves(backbone: Backbone) -> dict[str, list[Point]]:
    """The newest piece of the curve of each score of parts, by metric."""
    workdir = backbone.workdir
    if workdir is None:
        return {}
    lines, events = (read_lines(workdir / f"{x}.jsonl") for x in ("metrics", "events"))
    names = dict.fromkeys(m for line in lines for m in line if m.startswith("parts/"))
    found = {metric: pieces(metric, lines, events) for metric in names}
    return {metric: of[-1].points for metric, of in found.items() if of}


def kept_checkpoints(
    name: str, backbone: Backbone, dataset: PartDataset, *, resolution: int, skip_broken: bool
) -> Block | None:
    """M2O of all checkpoints that the run has kept; None if it is not a whole run."""
    folder = backbone.workdir and backbone.workdir / "checkpoints"
    steps = steps_in(folder) if folder else []
    if not steps:
        return None
    epochs = _epochs_per_step(backbone.workdir)
    k = min(REGIONS, all_of(backbone, resolution=resolution))
    rows = []
    for step in steps:
        of_step = open_backbone(folder / str(step))
        wanted = [Wanted(k, resolution)]
        first = step == steps[0]  # the untrained twin is the same for all
        found = scored(of_step, dataset, wanted, untrained=first, skip_broken=skip_broken)
        columns = found[k, resolution]["M2O"]
        columns.pop(GAIN, None)
        if before := columns.pop("untrained", None):
            rows.append({"run": name, "epoch": 0.0, "step": 0, "K": k, OURS: before})
        rows.append({"run": name, "epoch": round(step * epochs, 2), "step": step, "K": k} | columns)
    names = ["run", "epoch", "step", "K", OURS, *(null for null in NULLS if null in columns)]
    return Block(
        names, rows, f"M2O of the kept checkpoints on {dataset.name}; step 0 is untrained."
    )


def _epochs_per_step(workdir: Path) -> float:
    lines = [line for line in read_lines(workdir / "metrics.jsonl") if line.get("step")]
    return lines[-1]["epoch"] / lines[-1]["step"] if lines else 0.0
