"""With --task=consistency: whether a register, a K-means entry of registers or patches, or an entry
of --dictionary means the same part in every image. With --regions, ids of other programs are
scored as well, or instead of a model."""

from absl import flags

from rats_jax.errors import UserError
from rats_jax.evals.part_masks import BACKGROUND, REGIONS, open_masks, refuse_without_model
from rats_jax.evals.request import Request, say_end
from rats_jax.voice import say

ENTRIES = flags.DEFINE_integer(
    "entries",
    64,
    "Number of entries of K-means, over the registers and over the patches of all images.",
    lower_bound=2,
)
DICTIONARY = flags.DEFINE_string(
    "dictionary", "", "The --output of rats dictionary for this model, whose entries are scored."
)
FLAGS = ENTRIES, BACKGROUND, REGIONS, DICTIONARY


def run(request: Request) -> None:
    from rats_jax.evals.consistency_evaluation import evaluate_consistency
    from rats_jax.evals.consistency_results import write_consistency
    from rats_jax.parts.datasets import SAME_IDS
    from rats_jax.parts.dictionary.saved import load
    from rats_jax.paths import local_path
    from rats_jax.results_folder import new_folder

    kind = request.dataset.partition(":")[0]
    target, dataset, line, saved = open_masks(request, points=True)
    if kind not in SAME_IDS:
        raise UserError(
            f"--dataset={request.dataset}: an id of {kind} means a different part in each image; "
            f"--task=consistency accepts {', '.join(SAME_IDS)}"
        )
    models, dictionary = {}, None
    if request.checkpoint:
        models = request.models()
        if DICTIONARY.value:
            dictionary = load(local_path(DICTIONARY.value))
            dictionary.check_fits(models["model"].options)
    else:
        given = {"untrained": request.untrained, "dictionary": DICTIONARY.value}
        refuse_without_model(*(name for name, value in given.items() if value))
    options = {
        "entries": ENTRIES.value,
        "resolution": request.one_resolution(models["model"].options if models else None),
        "background": dataset.background,
    }
    if dictionary:
        dictionary.warn_of_another(models["model"].origin, options["resolution"])
    say("\n".join([line, *dataset.notes]))
    about = {
        "task": request.task,
        "model": models["model"].origin if models else None,
        "dataset": {"from": request.dataset, **dataset.about},
        "limit": request.limit,
        "saved_regions": {regions.name: str(regions.folder) for regions in saved},
        "dictionary": DICTIONARY.value or None,
        **options,
    }
    with new_folder(target) as folder:
        found = evaluate_consistency(
            models,
            dataset,
            saved=saved,
            dictionary=dictionary,
            skip_broken=request.skip_broken,
            **options,
        )
        write_consistency(folder, found, about=about)
    what = "keypoints" if dataset.points else "pixels"
    say(
        f"(percent, over the {what} of {found.images:,} images; the entries were fitted on the "
        "others)"
    )
    if dataset.background is None and not dataset.points:
        say("all ids count as parts: give the id of the background with --background to exclude it")
    say_end(found.skipped, target)
