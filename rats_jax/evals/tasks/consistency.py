"""With --task=consistency: whether a register, or a K-means entry of registers or patches, means
the same part in every image."""

from absl import flags

from rats_jax.errors import UserError
from rats_jax.evals.request import Request, images_used, say_end
from rats_jax.voice import say

ENTRIES = flags.DEFINE_integer(
    "entries",
    64,
    "Number of entries of K-means, over the registers and over the patches of all images.",
    lower_bound=2,
)
BACKGROUND = flags.DEFINE_integer(
    "background",
    None,
    "The id of the background in the masks: the scores are then also computed over the parts "
    "alone.",
)
FLAGS = ENTRIES, BACKGROUND


def run(request: Request) -> None:
    from rats_jax.evals.consistency_evaluation import evaluate_consistency
    from rats_jax.evals.consistency_results import write_consistency
    from rats_jax.parts.background import BACKGROUNDS, KINDS
    from rats_jax.parts.datasets import open_dataset
    from rats_jax.paths import local_path
    from rats_jax.results_folder import check_outside, free_folder, new_folder

    request.require("the images with part masks")
    kind = request.dataset.partition(":")[0]
    target = free_folder(local_path(request.output))
    dataset = open_dataset(request.dataset)
    if kind not in KINDS:
        raise UserError(
            f"--dataset={request.dataset}: an id of {kind} means a different part in each image; "
            f"--task=consistency accepts {', '.join(KINDS)}"
        )
    check_outside(target, dataset.folders)
    whole, dataset = len(dataset), dataset.limited(request.limit)
    models = request.models()
    options = {
        "entries": ENTRIES.value,
        "resolution": request.one_resolution(models["model"].options),
        "background": BACKGROUND.value if BACKGROUND.present else BACKGROUNDS.get(kind),
    }
    say("\n".join([f"{dataset.name}: {images_used(len(dataset), whole)}", *dataset.notes]))
    about = {
        "task": request.task,
        "model": models["model"].origin,
        "dataset": {"from": request.dataset, **dataset.about},
        "limit": request.limit,
        **options,
    }
    with new_folder(target) as folder:
        found = evaluate_consistency(models, dataset, skip_broken=request.skip_broken, **options)
        write_consistency(folder, found, about=about)
    say(
        f"(percent, over the pixels of {found.images:,} images; the entries were fitted on the "
        "others)"
    )
    if options["background"] is None:
        say("all ids count as parts: give the id of the background with --background to exclude it")
    say_end(found.skipped, target)
