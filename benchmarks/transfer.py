"""Decoders and backbones compared for segmentation at one budget: the tables of docs/transfer.md.

    python benchmarks/transfer.py --output=FOLDER --recipe=parts \\
        --train=procedural_parts:400@101 --test=procedural_parts:200@102 --rats=demo \\
        [--vit=WEIGHTS] [--twin=WEIGHTS] [--seeds=0,1] [--rows=PATTERN] [--table]
        [--config.FIELD=VALUE ...]

--twin: a RATS that was pretrained for as many steps as the ViT, if --rats was not.

Trains every row by `rats finetune` with each seed: the same steps, batches and crops, from the
weights and from random ones. A row that is complete in FOLDER is not trained again and an
interrupted one is resumed, so the command can be stopped and repeated. --table only prints what is
there. The intervals are 95 % bootstrap intervals over the test images, paired in differences.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax.finetuning.results import difference  # noqa: E402
from rats_jax.segmentation.scoring import Estimate  # noqa: E402
from rats_jax.writing import markdown_table, with_interval  # noqa: E402


class Row(NamedTuple):
    """A decoder on a backbone. weights: which of --rats, --vit and --twin."""

    name: str
    title: str
    weights: str
    flags: str


ROWS = (
    Row("m2f_registers", "Mask2Former, registers as queries", "rats", "--queries=registers"),
    Row("m2f_learned", "Mask2Former, learned queries", "rats", "--queries=learned"),
    Row("m2f_vit", "Mask2Former, learned queries", "vit", "--queries=learned"),
    Row("m2f_twin", "Mask2Former, registers as queries, as many steps as the ViT", "twin",
        "--queries=registers"),
    Row("m2f_frozen", "Mask2Former, registers as queries, frozen backbone", "rats",
        "--queries=registers --freeze=backbone"),
    Row("registers", "masks of registers (JAX)", "rats", "--decoder=registers"),
    Row("registers_frozen", "masks of registers (JAX), frozen backbone", "rats",
        "--decoder=registers --freeze=backbone"),
    Row("linear", "linear, frozen backbone", "rats", "--decoder=linear --freeze=backbone"),
    Row("linear_vit", "linear, frozen backbone", "vit", "--decoder=linear --freeze=backbone"),
)  # fmt: skip
STARTS = {"trained": "", "random": "--config.model.random=True"}


class Run(NamedTuple):
    """A row that is trained with a seed from a start."""

    row: Row
    start: str
    seed: int

    def folder(self, output: Path) -> Path:
        return output / f"{self.row.name}-{self.start}-{self.seed}"


def runs_of(given: argparse.Namespace) -> Iterator[Run]:
    """All runs, seed by seed, so that a table with one seed is there first."""
    for seed in given.seeds:
        for row in ROWS:
            for start in STARTS:
                if getattr(given, row.weights) and re.search(given.rows, f"{row.name}-{start}"):
                    yield Run(row, start, seed)


def train(run: Run, given: argparse.Namespace) -> None:
    """Trains a run in a separate process; raises SystemExit if it fails."""
    folder = run.folder(given.output)
    command = [
        *(sys.executable, "-m", "rats_jax.finetune", f"--config={given.recipe}"),
        *(f"--checkpoint={getattr(given, run.row.weights)}", f"--workdir={folder}"),
        *(f"--config.data.train={given.train}", f"--config.data.test={given.test}"),
        *(f"--config.seed={run.seed}", *run.row.flags.split(), *STARTS[run.start].split()),
        *given.more,
    ]
    print(f"{time.strftime('%H:%M:%S')} {folder.name}", flush=True)
    with folder.with_suffix(".log").open("a") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{folder.name} ended with status {done.returncode}: see {log.name}")


def is_done(run: Run, output: Path) -> bool:
    return (run.folder(output) / "results" / "results.json").exists()


def table(given: argparse.Namespace) -> str:
    """The scores of each row, and the gain of its trained start over its random one."""
    metric = given.metric
    rows = []
    for row in ROWS:
        cells = []
        for seed in given.seeds:
            folders = {start: Run(row, start, seed).folder(given.output) for start in STARTS}
            done = {s: f for s, f in folders.items() if is_done(Run(row, s, seed), given.output)}
            cells += [_score(done[start], metric) if start in done else "" for start in STARTS]
            gain = len(done) == 2 and difference(*(f / "results" for f in done.values()))[metric]
            cells.append(with_interval(*gain, signed=True) if gain else "")
        if any(cells):
            rows.append((row.title, "ViT" if row.weights == "vit" else "RATS", *cells))
    heads = [f"{name}, seed {seed}" for seed in given.seeds for name in (*STARTS, "gain")]
    return markdown_table(["decoder", "backbone", *heads], rows)


def differences(given: argparse.Namespace) -> str:
    """Each row minus the first one, from the weights."""
    first, *others = ROWS
    rows = []
    for row in others:
        cells = []
        for seed in given.seeds:
            pair = [Run(of, "trained", seed) for of in (row, first)]
            if all(is_done(run, given.output) for run in pair):
                found = difference(*(run.folder(given.output) / "results" for run in pair))
                cells.append(with_interval(*found[given.metric], signed=True))
        if cells:
            cells += [""] * (len(given.seeds) - len(cells))
            rows.append((f"{row.title}, {'ViT' if row.weights == 'vit' else 'RATS'}", *cells))
    seeds = [f"seed {seed}" for seed in given.seeds]
    return markdown_table([f"minus {first.title}", *seeds], rows)


def _score(folder: Path, metric: str) -> str:
    found = json.loads((folder / "results" / "results.json").read_text("utf-8"))["scores"][metric]
    return with_interval(*Estimate(**found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--recipe", default="parts")
    for name in ("train", "test", "rats"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--vit", default="")
    parser.add_argument("--twin", default="")
    parser.add_argument("--seeds", type=lambda text: [*map(int, text.split(","))], default=[0, 1])
    parser.add_argument("--rows", default="")
    parser.add_argument("--metric", default="semantic/miou")
    parser.add_argument("--table", action="store_true")
    given, given.more = parser.parse_known_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if not given.table:
        for run in runs_of(given):
            if not is_done(run, given.output):
                train(run, given)
    print("\n\n".join([table(given), differences(given)]))


if __name__ == "__main__":
    main()
