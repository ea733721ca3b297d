"""python -m rats_jax.demo --workdir=DIR: train a small RATS on drawings, score it, draw its parts.

Trains `configs/demo.py`, and a ViT of the same width and depth for the same steps, then compares
them, the untrained RATS and a plain grid on held-out drawings. Started again with the same
directory, it goes on where it stopped.
"""

import json
import time
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from rats_jax import command_line
from rats_jax.command_line import say

CONFIG = config_flags.DEFINE_config_file("config", "configs/demo.py", "What RATS is trained by.")
WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "Where runs, scores and pictures are kept.")

HELD_OUT_SEED = 1_000_003  # another world than any that is trained on by default
HELD_OUT = 300  # pictures scored
PIXELS = 96
SMOOTHING = 0.5  # patches; the usual 1 would be an eighth of these small grids


def main() -> None:
    import numpy as np

    from rats_jax.data.procedural_parts import SUPER_CATEGORIES, ProceduralParts
    from rats_jax.evals.parts import extract, region_maps, score_maps
    from rats_jax.evals.regions import grid_regions
    from rats_jax.pictures.overlays import part_sheet, save_png
    from rats_jax.runs.loop import train
    from rats_jax.runs.restore import restore, untrained

    started = time.perf_counter()
    workdir = Path(WORKDIR.value).expanduser()
    config = command_line.read_config(CONFIG)
    say("== RATS")
    rats = restore(train(config, str(workdir / "rats")))
    say("== ViT of the same size, for the same steps")
    config.model.architecture = "vit"
    vit = restore(train(config, str(workdir / "vit")))

    say(f"== scoring {HELD_OUT} held-out pictures of {PIXELS} px")
    source = ProceduralParts(size=PIXELS, length=HELD_OUT, seed=HELD_OUT_SEED)
    samples = [source.sample(i) for i in range(HELD_OUT)]
    images = np.stack([sample.image for sample in samples])
    masks = np.stack([sample.parts for sample in samples])

    k = config.model.heads  # what the ViT's attention gives: all are compared at this K
    models = {"RATS, trained": rats, "RATS, untrained": untrained(rats.config), "ViT, trained": vit}
    maps = {}
    for name, model in models.items():
        features = extract(model.network, model.params, images)
        side = PIXELS // config.model.patch
        for way, labels in region_maps(
            features, grid=(side, side), k=k, sigma=SMOOTHING, size=(PIXELS, PIXELS)
        ).items():
            maps[f"{name}: {way}"] = labels
    maps["grid"] = np.stack([grid_regions(size=(PIXELS, PIXELS), k=k)] * HELD_OUT)
    scores = {name: score_maps(labels, masks) for name, labels in maps.items()}

    table = [f"| label maps of {k} regions | M2O | O2O | ARI |", "|---|---|---|---|"]
    for name, s in scores.items():
        cells = " | ".join(
            f"{100 * mean:.1f} ({100 * low:.1f}-{100 * high:.1f})"
            for mean, low, high in zip(s.mean, s.low, s.high, strict=True)
        )
        table.append(f"| {name} | {cells} |")
    say("\n".join(table))
    say("(means over pictures, in percent, with 95 % bootstrap intervals)")

    (workdir / "results.json").write_text(
        json.dumps(
            {
                "k": k,
                "pixels": PIXELS,
                "smoothing": SMOOTHING,
                "held_out": {"images": HELD_OUT, "seed": HELD_OUT_SEED},
                "steps": rats.step,
                "scores": {
                    name: {field: getattr(s, field)._asdict() for field in ("mean", "low", "high")}
                    for name, s in scores.items()
                },
            },
            indent=2,
        )
        + "\n"
    )
    labels = [sample.label for sample in samples]
    shown = [labels.index(category) for category in range(len(SUPER_CATEGORIES))]
    columns = {"truth": masks[shown]} | {
        name: labels[shown] for name, labels in maps.items() if "k-means" not in name
    }
    picture = save_png(part_sheet(images[shown], columns, truth="truth"), workdir / "parts.png")
    say(f"pictures in {picture}, scores in {workdir / 'results.json'}")
    say(f"{(time.perf_counter() - started) / 60:.1f} minutes in all")


if __name__ == "__main__":
    command_line.run(main)
