"""rats demo --workdir=DIR: train a small RATS on drawings, score it, draw its parts.

Trains the recipe `demo` from the model in `rats_jax.demo_model`, then compares it on held-out
drawings with the same RATS before any training, a plain grid, SLIC and colours. Started again with
the same directory, it continues where it stopped.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from rats_jax import command_line, config_flag
from rats_jax.device_failures import TRAIN_SMALLER
from rats_jax.paths import local_path
from rats_jax.voice import say

CONFIG = config_flag.define_config("demo")
WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "The folder for runs, scores and pictures.")

HELD_OUT_SEED = 1_000_003  # a world that is used neither for training nor for choices
HELD_OUT = 600  # drawings scored
PIXELS = 96
SMOOTHING = 0.5  # patches; the default of 1 is an eighth of the side of these small grids
TOP_K = 4, 8
ENTRIES = 64


def main() -> None:
    started = time.perf_counter()
    workdir = local_path(WORKDIR.value)
    models = _train(workdir)
    _score(models, workdir / "results")
    picture = _draw(models, workdir / "parts.png")
    say(f"pictures in {picture}, scores in {workdir / 'results'}")
    say(f"{(time.perf_counter() - started) / 60:.1f} minutes in total")


def _train(workdir: Path) -> dict:
    """The trained and the untrained backbone, by their names in the tables."""
    from rats_jax import demo_model
    from rats_jax.backbones import open_backbone
    from rats_jax.runs.loop import train

    say(f"== training RATS from the model in the package ({demo_model.steps():,} steps)")
    config = config_flag.read_config(CONFIG)
    rats = open_backbone(train(config, str(workdir / "rats"), weights=demo_model.load()))
    return {"model": rats, "untrained": rats.before_training()}


def _score(models: dict, folder: Path) -> None:
    """Scores the regions in images, and whether ids mean the same part in all images."""
    from rats_jax import demo_model
    from rats_jax.evals.consistency_evaluation import evaluate_consistency
    from rats_jax.evals.consistency_results import write_consistency
    from rats_jax.evals.part_evaluation import evaluate_parts
    from rats_jax.evals.part_results import write_results
    from rats_jax.evals.part_scores import Row
    from rats_jax.parts.datasets.drawings import drawings
    from rats_jax.parts.ways import RegionOptions
    from rats_jax.procedural_parts import BACKGROUND, ProceduralParts

    say(f"== scoring {HELD_OUT} held-out drawings of {PIXELS} pixels")
    say(
        "model: RATS after training. untrained: the same RATS before any training.\ngrid, SLIC, "
        "colour entries, grid cells: baselines that need no model."
    )
    held_out = drawings(ProceduralParts(size=PIXELS, length=HELD_OUT, seed=HELD_OUT_SEED))
    steps = {"in the package": demo_model.steps(), "here": models["model"].step}
    about = {"world": HELD_OUT_SEED, "pixels": PIXELS, "steps": steps}
    found = evaluate_parts(
        models,
        held_out,
        top_k=TOP_K,
        resolutions=(PIXELS,),
        options=RegionOptions(SMOOTHING),
        saved=(),
        skip_broken=False,
    )
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    against = [(Row(k, PIXELS, "model: centered registers"), Row(k, None, "grid")) for k in TOP_K]
    write_results(folder / "parts", found, about=about, against=against)
    consistency = evaluate_consistency(
        models,
        held_out,
        entries=ENTRIES,
        resolution=PIXELS,
        background=BACKGROUND,
        skip_broken=False,
    )
    (folder / "consistency").mkdir(exist_ok=True)
    write_consistency(folder / "consistency", consistency, about=about)
    say("(percent and percent points, with 95 % bootstrap intervals; differences are paired)")


def _draw(models: dict, file: Path) -> Path:
    """Draws the first held-out drawing of each super-category, at the largest K that was scored."""
    import numpy as np

    from rats_jax.parts.ways import RegionOptions, region_maps
    from rats_jax.pictures.overlays import part_sheet, save_png
    from rats_jax.procedural_parts import SUPER_CATEGORIES, ProceduralParts, Sample

    source = ProceduralParts(size=PIXELS, length=HELD_OUT, seed=HELD_OUT_SEED)
    first: dict[int, Sample] = {}
    for sample in (source.sample(i) for i in range(HELD_OUT)):
        first.setdefault(sample.label, sample)
        if len(first) == len(SUPER_CATEGORIES):
            break
    samples = [first[label] for label in sorted(first)]
    images = np.stack([sample.image for sample in samples])
    options, k = models["model"].options, TOP_K[-1]
    side = PIXELS // options.patch
    columns: dict[str, Sequence[np.ndarray]] = {"truth": [sample.parts for sample in samples]}
    for name, title in (("model", "trained"), ("untrained", "untrained")):
        features = models[name].looking(attention_of=(options.attended_layer,))(images)
        for way in ("centered registers", "k-means"):
            maps = region_maps(
                features,
                has_cls=options.has_cls,
                grid=(side, side),
                k=k,
                size=(PIXELS, PIXELS),
                options=RegionOptions(SMOOTHING),
            )
            columns[f"{title}: {way}"] = [*maps[way]]
    return save_png(part_sheet(list(images), columns, truth="truth"), file)


if __name__ == "__main__":
    command_line.run(
        main, interrupted=command_line.INTERRUPTED_TRAINING, out_of_memory=TRAIN_SMALLER
    )
