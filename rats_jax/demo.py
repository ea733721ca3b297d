"""python -m rats_jax.demo --workdir=DIR: train a small RATS on drawings, score it, draw its parts.

Trains `configs/demo.py`, and a ViT of the same width and depth for the same steps, then compares
them with the untrained RATS, a plain grid, SLIC and colours on held-out drawings. Started again
with the same directory, it goes on where it stopped.
"""

import time
from pathlib import Path

from absl import flags

from rats_jax import command_line, config_flag
from rats_jax.command_line import say
from rats_jax.device_failures import TRAIN_SMALLER
from rats_jax.paths import local_path

CONFIG = config_flag.define_config("configs/demo.py")
WORKDIR = flags.DEFINE_string("workdir", "runs/demo", "Where runs, scores and pictures are kept.")

HELD_OUT_SEED = 1_000_003  # another world than any that is trained on, or chosen by, by default
HELD_OUT = 600  # pictures scored
PIXELS = 96
SMOOTHING = 0.5  # patches; the usual 1 would be an eighth of these small grids
ENTRIES = 64

MODELS = """
model: RATS after training. untrained: the same RATS before training. ViT: a ViT of the same width
and depth after training. grid, SLIC, colour entries, grid cells: what needs no model."""


def main() -> None:
    started = time.perf_counter()
    workdir = local_path(WORKDIR.value)
    rats, vit = _train(workdir)
    scores = _score(rats, vit)
    (workdir / "results").mkdir(exist_ok=True)
    _write(workdir / "results", *scores, steps=rats.step)
    picture = _draw(rats, vit, workdir / "parts.png")
    say(f"pictures in {picture}, scores in {workdir / 'results'}")
    say(f"{(time.perf_counter() - started) / 60:.1f} minutes in all")


def _train(workdir: Path):
    """The trained RATS and ViT, restored."""
    from rats_jax.runs.loop import train
    from rats_jax.runs.restore import restore

    config = config_flag.read_config(CONFIG)
    say("== RATS")
    rats = restore(train(config, str(workdir / "rats")))
    say("== ViT of the same size, for the same steps")
    config.model.architecture = "vit"
    config.dino.loss_scope = "all"  # it has one global vector
    config.evaluation.every_epochs, config.run.keep_best = 0.0, 0
    return rats, restore(train(config, str(workdir / "vit")))


def _score(rats, vit):
    """Scores of regions within images, and of whether a part is the same in all of them."""
    from rats_jax.data.procedural_parts import BACKGROUND, ProceduralParts
    from rats_jax.evals.consistency_evaluation import evaluate_consistency
    from rats_jax.evals.datasets.drawings import drawings
    from rats_jax.evals.part_evaluation import evaluate_parts
    from rats_jax.evals.parts import RegionOptions

    say(f"== scoring {HELD_OUT} held-out drawings of {PIXELS} pixels")
    held_out = drawings(ProceduralParts(size=PIXELS, length=HELD_OUT, seed=HELD_OUT_SEED))
    models = {name: model.backbone for name, model in _models(rats, vit).items()}
    heads = rats.config.model.heads
    parts = evaluate_parts(
        models,
        held_out,
        top_k=(heads, 2 * heads),  # at K = heads the ViT's attention has its regions too
        resolutions=(PIXELS,),
        options=RegionOptions(SMOOTHING),
        saved=(),
        skip_broken=False,
    )
    consistency = evaluate_consistency(
        models,
        held_out,
        entries=ENTRIES,
        resolution=PIXELS,
        background=BACKGROUND,
        skip_broken=False,
    )
    return parts, consistency


if __name__ == "__main__":
    command_line.run(main, interrupted=command_line.GOES_ON, out_of_memory=TRAIN_SMALLER)
