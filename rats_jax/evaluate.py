"""python -m rats_jax.evaluate --checkpoint=RUN_OR_WEIGHTS --dataset=KIND:PATH --output=DIR

Part discovery: how well a model's regions agree with part masks, beside what a plain grid and
k-means on the same features reach at the same number of regions.
"""

from pathlib import Path

from absl import flags

from rats_jax import command_line
from rats_jax.command_line import say
from rats_jax.errors import UserError

CHECKPOINT, WEIGHTS = command_line.define_checkpoint()
TASK = flags.DEFINE_enum("task", "parts", ["parts"], "What to measure.")
DATASET = flags.DEFINE_string(
    "dataset",
    "",
    "KIND:PATH; folder, ade20k, coco-panoptic, coco-instances, imagenet-s, partimagenet, sam.",
)
OUTPUT = flags.DEFINE_string("output", "", "The folder to make.")
TOP_K = flags.DEFINE_list(
    "top_k", None, "Numbers of regions; by default 6,12,33,96, as far as the model has registers."
)
RESOLUTION = flags.DEFINE_integer(
    "resolution", 512, "Pixels of both sides, as the model sees an image.", lower_bound=1
)
UNTRAINED = flags.DEFINE_bool("untrained", False, "Score the run's untrained model beside it.")
SKIP_BROKEN = flags.DEFINE_bool("skip-broken", False, "Leave out samples that cannot be read.")


def main() -> None:
    from rats_jax.backbones import open_backbone
    from rats_jax.evals import part_evaluation
    from rats_jax.evals.datasets import open_dataset
    from rats_jax.results_folder import free_folder, new_folder
    from rats_jax.runs.restore import untrained

    command_line.require(
        (CHECKPOINT, "a run's workdir, or a file of weights"),
        (DATASET, "the images and masks, as KIND:PATH"),
        (OUTPUT, "the folder to make"),
    )
    output = Path(OUTPUT.value).expanduser()
    target = free_folder(output)
    dataset = open_dataset(DATASET.value)
    backbone = open_backbone(CHECKPOINT.value, weights=WEIGHTS.value)
    say(backbone.origin)
    say(f"{dataset.name}: {len(dataset)} images; {dataset.flattening}")
    patch, resolution = backbone.options["patch"], RESOLUTION.value
    if resolution % patch:
        nearest = max(round(resolution / patch), 1) * patch
        raise UserError(
            f"--resolution={resolution} is no multiple of the patch ({patch}); the nearest is "
            f"{nearest}"
        )
    top_k = part_evaluation.numbers_of_regions(
        TOP_K.value, backbone.options, patches=(resolution // patch) ** 2
    )
    models = {"model": backbone}
    if UNTRAINED.value:
        if backbone.config is None:
            raise UserError("--untrained needs a run, whose config says how it started")
        params = untrained(backbone.config).params["backbone"]
        models["untrained"] = backbone._replace(params=params)
    with new_folder(target) as folder:
        found = part_evaluation.evaluate_parts(
            models,
            dataset,
            top_k=top_k,
            resolution=resolution,
            skip_broken=SKIP_BROKEN.value,
        )
        about = {
            "task": TASK.value,
            "model": backbone.origin,
            "options": backbone.options,
            "dataset": {"name": dataset.name, "flattening": dataset.flattening},
            "resolution": resolution,
            "smoothing": part_evaluation.SMOOTHING,
        }
        say(part_evaluation.write_results(folder, found, about=about))
    say("(means over images, in percent, with 95 % bootstrap intervals)")
    if found.skipped:
        say(f"{len(found.skipped)} of {len(dataset)} samples were left out: see results.json")
    say(f"results: {output}")


if __name__ == "__main__":
    command_line.run(main)
