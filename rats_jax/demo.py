"""python -m rats_jax.demo --workdir=DIR: train a small RATS on drawings, score it, draw its parts.

Trains `configs/demo.py`, and a ViT of the same width and depth for the same steps, then compares
them, the untrained RATS and a plain grid on held-out drawings. Started again with the same
directory, it goes on where it stopped.
"""

import json
import time

from absl import flags

from rats_jax import command_line, config_flag
from rats_jax.command_line import say
from rats_jax.device_failures import TRAIN_SMALLER
from rats_jax.paths import local_path

CONFIG = config_flag.define_config("configs/demo.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "Where runs, scores and pictures are kept.")

HELD_OUT_SEED = 1_000_003  # another world than any that is trained on by default
HELD_OUT = 300  # pictures scored
PIXELS = 96
SMOOTHING = 0.5  # patches; the usual 1 would be an eighth of these small grids


def main() -> None:
    import numpy as np

    from rats_jax.data.procedural_parts import SUPER_CATEGORIES, ProceduralParts
    from rats_jax.evals.null_regions import grid_regions
    from rats_jax.evals.parts import RegionOptions, extract, region_maps, score_maps, score_table
    from rats_jax.pictures.overlays import part_sheet, save_png
    from rats_jax.runs.loop import train
    from rats_jax.runs.restore import restore, untrained

    started = time.perf_counter()
    workdir = local_path(WORKDIR.value)
    config = config_flag.read_config(CONFIG)
    say("== RATS")
    rats = restore(train(config, str(workdir / "rats")))
    say("== ViT of the same size, for the same steps")
    config.model.architecture = "vit"
    config.dino.loss_scope = "all"  # it has one global vector
    config.evaluation.every_epochs, config.run.keep_best = 0.0, 0
    vit = restore(train(config, str(workdir / "vit")))

    say(f"== scoring {HELD_OUT} held-out pictures of {PIXELS} px")
    source = ProceduralParts(size=PIXELS, length=HELD_OUT, seed=HELD_OUT_SEED)
    samples = [source.sample(i) for i in range(HELD_OUT)]
    images = np.stack([sample.image for sample in samples])
    masks = np.stack([sample.parts for sample in samples])

    models = {"RATS, trained": rats, "RATS, untrained": untrained(rats.config), "ViT, trained": vit}
    side = PIXELS // config.model.patch
    features = {name: extract(m.network, m.params, images) for name, m in models.items()}
    # At K = heads the ViT's attention has its regions too.
    maps = {k: {} for k in (config.model.heads, 2 * config.model.heads)}
    for k, ways in maps.items():
        for name, f in features.items():
            for way, labels in region_maps(
                f, grid=(side, side), k=k, size=(PIXELS, PIXELS), options=RegionOptions(SMOOTHING)
            ).items():
                ways[f"{name}: {way}"] = labels
        ways["grid"] = np.stack([grid_regions(size=(PIXELS, PIXELS), k=k)] * HELD_OUT)
    scores = {
        k: {name: score_maps(labels, masks) for name, labels in ways.items()}
        for k, ways in maps.items()
    }

    say(score_table([(k, name, s) for k, rows in scores.items() for name, s in rows.items()]))
    say("(means over pictures, in percent, with 95 % bootstrap intervals)")

    (workdir / "results.json").write_text(
        json.dumps(
            {
                "pixels": PIXELS,
                "smoothing": SMOOTHING,
                "held_out": {"images": HELD_OUT, "seed": HELD_OUT_SEED},
                "steps": rats.step,
                "scores": {
                    k: {
                        name: {part: getattr(s, part)._asdict() for part in ("mean", "low", "high")}
                        for name, s in rows.items()
                    }
                    for k, rows in scores.items()
                },
            },
            indent=2,
        )
        + "\n"
    )
    labels = [sample.label for sample in samples]
    shown = [labels.index(category) for category in range(len(SUPER_CATEGORIES))]
    columns = {"truth": masks[shown]} | {
        name: labels[shown]
        for name, labels in maps[config.model.heads].items()
        if "k-means" not in name
    }
    picture = save_png(
        part_sheet(list(images[shown]), columns, truth="truth"), workdir / "parts.png"
    )
    say(f"pictures in {picture}, scores in {workdir / 'results.json'}")
    say(f"{(time.perf_counter() - started) / 60:.1f} minutes in all")


if __name__ == "__main__":
    command_line.run(main, interrupted=command_line.GOES_ON, out_of_memory=TRAIN_SMALLER)
