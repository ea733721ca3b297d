"""The tables of docs/pods.md: plans of RATS-B, RATS-L and a RATS of ViT-g's size on TPU slices.

python benchmarks/pods.py --output=FOLDER [--rows=PATTERN]

Runs `python -m rats_jax.plan` for each row whose figures are not in FOLDER yet (minutes each;
needs requirements-tpu.txt, no TPU) and prints the tables and their commands.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parents[1]))

from rats_jax import command_line  # noqa: E402
from rats_jax.errors import UserError  # noqa: E402
from rats_jax.voice import say  # noqa: E402

OUTPUT = flags.DEFINE_string("output", "", "Folder of the figures, a JSON a row.")
ROWS = flags.DEFINE_string(
    "rows", "", "A regular expression: only rows whose names it is found in."
)

LARGE = "model.width=1024 model.depth=24 model.heads=16"
GIANT = "model.width=1536 model.depth=40 model.heads=24"

#: (name, topology, fields of the config beside configs/rats_b16_in1k.py)
TABLES = {
    "RATS-B/16, batch 1024": [
        ("b1024_v5e16", "v5e:4x4", "optimizer.accumulation=4"),
        ("b1024_v5e64", "v5e:8x8", ""),
        ("b1024_v5e256", "v5e:16x16", "model.remat=none"),
        ("b1024_v5p32", "v5p:2x2x4", ""),
        ("b1024_v6e64", "v6e:8x8", "model.remat=none"),
    ],
    "RATS-B/16, larger batches": [
        ("b4096_v5e256", "v5e:16x16", "optimizer.batch_size=4096"),
        (
            "b16384_v5e256",
            "v5e:16x16",
            "optimizer.batch_size=16384 optimizer.accumulation=4",
        ),
    ],
    "RATS-L/16, batch 1024": [
        ("l1024_v5e64", "v5e:8x8", f"{LARGE} mesh.fsdp=16 optimizer.accumulation=2"),
        ("l1024_v5e256", "v5e:16x16", f"{LARGE} mesh.fsdp=16"),
    ],
    "RATS of ViT-g's size, batch 1024": [
        ("g1024_v5p64", "v5p:4x4x4", f"{GIANT} mesh.fsdp=16 optimizer.accumulation=2"),
        (
            "g1024_v5p64_tensor",
            "v5p:4x4x4",
            f"{GIANT} mesh.fsdp=8 mesh.tensor=4 optimizer.accumulation=4",
        ),
    ],
}
COLUMNS = (
    "slice",
    "mesh",
    "images a chip",
    "remat",
    "state",
    "peak of usable",
    "head-room",
    "sent a step",
    "bound",
    "XLA's estimate",
    "images/s a host",
    "days at the bound",
)


def main() -> None:
    if not OUTPUT.value:
        raise UserError("no --output: name a folder for the figures")
    folder = Path(OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    for title, rows in TABLES.items():
        rows = [row for row in rows if re.search(ROWS.value, row[0])]
        if not rows:
            continue
        plans = [plan(folder, *row) for row in rows]
        say(f"\n### {title}\n")
        say(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        for row, figures in zip(rows, plans, strict=True):
            say(f"| {' | '.join(cells(row[1], figures))} |")
        say("\n```")
        for _, topology, fields in rows:
            say("python -m " + " ".join(command(topology, fields)[2:]))
        say("```")


def command(topology: str, fields: str) -> list[str]:
    options = [f"--config.{field}" for field in fields.split()]
    config = "--config=configs/rats_b16_in1k.py"
    return [sys.executable, "-m", "rats_jax.plan", config, f"--topology={topology}", *options]


def plan(folder: Path, name: str, topology: str, fields: str) -> dict:
    file = folder / f"{name}.json"
    if not file.exists():
        say(f"{name}: compiling")
        options = ["--noadvice", f"--json={file}"]
        done = subprocess.run([*command(topology, fields), *options], cwd=Path(__file__).parents[1])
        if not file.exists():
            raise UserError(f"plan of {name} ended with status {done.returncode}, see above")
    return json.loads(file.read_text())


def cells(topology: str, plan: dict) -> list[str]:
    memory, batch, speed = plan["memory"], plan["batch"], plan.get("speed")
    mesh = " x ".join(f"{axis} {size}" for axis, size in plan["mesh"].items() if size > 1)
    per_chip = f"{batch['per_chip']:g}"
    if batch["accumulation"] > 1:
        per_chip += f", in {batch['accumulation']} parts"
    state = sum(plan["state_bytes_per_chip"].values())
    row = [
        f"{topology}, {plan['chips']} chips",
        mesh,
        per_chip,
        plan["remat"],
        f"{state / 1e9:.2f} GB",
        f"{memory['peak'] / 2**30:.1f} of {memory['capacity'] / 2**30:.2f} GiB",
        f"{1 - memory['peak'] / memory['capacity']:.0%}" if plan["fits"] else "does not fit",
    ]
    if not speed:
        return row + ["-"] * (len(COLUMNS) - len(row))
    estimate = speed["xla_estimated_seconds"]
    return row + [
        f"{sum(of['sent'] for of in plan['collectives']) / 1e9:.2f} GB",
        f"{speed['step_seconds'] * 1e3:,.0f} ms",
        f"{estimate * 1e3:,.0f} ms" if estimate else "-",
        f"{speed['images_per_second_per_host']:,.0f}",
        f"{speed['days']:.2f}",
    ]


if __name__ == "__main__":
    command_line.run(main, out_of_memory="choose a smaller batch, or a smaller model")
